"""People with keys, for tests: written into the roles, and signing what they say."""

import datetime as dt
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.ledger import Entry, Ledger
from tasks.roles import Roles
from tasks.signatures import new_key, public_text

MAY = {
    "approve": ["steward", "data science", "compliance"],
    "waive_warn": ["steward", "compliance"],
    "waive_block": ["compliance"],
    "accept_risk": ["compliance"],
    "skip_rollout": ["compliance"],
}
DIGESTS = {name: name[0] * 64 for name in ("plan", "report", "predictions", "model")}
NOW = dt.datetime.now(dt.UTC)


def key_of(name: str) -> Ed25519PrivateKey:
    """A key that depends on the name alone."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


def person(name: str, *roles: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "roles": list(roles), "key": public_text(key_of(name)), **more}


def roles_of(*people: dict[str, Any], **may: list[str]) -> Roles:
    return Roles.model_validate({"people": list(people), "may": MAY | may})


def write_roles(path: Path, keys: Path, **people: list[str]) -> dict[str, Path]:
    """Roles with these people, whose private keys lie as files in `keys`."""
    files = {name: keys / f"{name}.pem" for name in people}
    listed = [{"name": n, "roles": r, "key": public_text(new_key(files[n]))} for n, r in people.items()]
    path.write_text(yaml.safe_dump({"people": listed, "may": MAY}))
    return files


def decide(ledger: Ledger, roles: list[str] | None = None, days: int = 30, verdict: str = "PASS", **more: Any) -> Entry:
    """A decision by bob, as far as approvals look at it."""
    asked = "nobody is asked" if roles is None else {"roles": roles, "valid_days": days}
    body = {
        "verdict": verdict,
        "approval": asked,
        "by": "bob",
        "evidence": DIGESTS,
        "recorded_for": {"verdict": "v" * 64, "comparison": "c" * 64, "latency": "l" * 64},
    }
    return ledger.append("decision", "pets", body | more)
