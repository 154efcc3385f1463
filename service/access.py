"""Who may ask, and how much: bearer tokens from the environment, and a bucket of tokens for each caller."""

import base64
import hmac
import math
import os
import time
from collections import OrderedDict

from tasks.digests import sha256_bytes
from tasks.errors import BadInput
from tasks.serving_rules import RateRules

TOKENS = "KEEL_TOKENS"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def tokens_for(host: str) -> tuple[bytes, ...]:
    """The tokens in force, from KEEL_TOKENS; BadInput where there are none and others than this machine could ask."""
    found = tuple(t.strip().encode() for t in os.environ.get(TOKENS, "").split(",") if t.strip())
    if not found and host not in LOOPBACK:
        raise BadInput(
            f"to listen on {host} others must be told apart from strangers: set {TOKENS} to one or more "
            "bearer tokens, separated by commas, or listen on 127.0.0.1"
        )
    return found


def is_known(header: str, tokens: tuple[bytes, ...]) -> bool:
    """Whether an Authorization header bears one of the tokens, in a time that does not tell how nearly.

    A browser sends it as the password of HTTP's basic scheme, under any name.
    """
    sent = token_in(header)
    matches = [hmac.compare_digest(sent, token) for token in tokens]
    return any(matches)


def token_in(header: str) -> bytes:
    """The token that an Authorization header bears, be it one of ours or not; nothing where it bears none."""
    scheme, _, given = header.partition(" ")
    sent = given.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(sent, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return sent if scheme.lower() == "bearer" else b""


def caller_of(header: str, peer: str, tokens: tuple[bytes, ...]) -> str:
    """What a caller is counted by: the hash of its token, however it was sent; without `tokens` in force its address,
    for a header that nobody checks would give it a new name each time."""
    return sha256_bytes(token_in(header)) if tokens else peer


class Buckets:
    """A bucket for each caller, filled evenly; the callers that were longest away are forgotten, full as they are."""

    def __init__(self, rules: RateRules) -> None:
        self.rules = rules
        self.left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, caller: str, images: int, now: float | None = None) -> float:
        """Take a token for each image, and return 0; or take none, and return the seconds until there are enough."""
        at = time.monotonic() if now is None else now
        tokens, counted = self.left.pop(caller, (float(self.rules.burst), at))
        tokens = min(float(self.rules.burst), tokens + (at - counted) * self.rules.a_second)
        enough = tokens >= images
        self.left[caller] = (tokens - images if enough else tokens, at)
        while len(self.left) > self.rules.callers:
            self.left.popitem(last=False)
        return 0.0 if enough else max(1.0, math.ceil((images - tokens) / self.rules.a_second))
