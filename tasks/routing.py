"""Which of two models answers a request: told by a hash of a stable key, so that one client always meets the same one.

The key's hash lies uniformly in [0, 1); keys below the challenger's share go to it. A share that grows keeps every key
that it had, for the salt stays the same as long as the rollout does.
"""

import hashlib

from tasks.errors import BadInput

CHAMPION, CHALLENGER = "champion", "challenger"


def arm_of(key: str, salt: str, share: float) -> str:
    """The arm of a client's key, when `share` (0 to 1) of all keys go to the challenger."""
    if not 0 <= share <= 1:
        raise BadInput(f"a share of traffic is {share:g}; it lies between 0 and 1")
    return CHALLENGER if place_of(key, salt) < share else CHAMPION


def place_of(key: str, salt: str) -> float:
    """Where in [0, 1) a key lies: the first 53 bits of its SHA-256, which a float holds exactly."""
    digest = hashlib.sha256(f"{salt}\n{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53
