"""Roles: who may approve, waive or accept, and whose signature counts; governance/roles.yaml.

A signed entry of the ledger counts when a person of that name has the key that it was signed with, holds the role that
it was signed in, and that role may do it. Nothing else about an entry is believed.
"""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tasks.errors import BadInput
from tasks.governance_file import read_governance_file
from tasks.ledger import Entry
from tasks.plan import Role
from tasks.signatures import is_signed, public_key, public_text

ROLES = Path("governance/roles.yaml")
SKEW = dt.timedelta(minutes=5)  # how far a signer's clock may be ahead of the ledger's
SAID = ("by", "role", "why", "at", "until")  # what every signed entry says beside its own subject
Act = Literal["approve", "waive_warn", "waive_block", "accept_risk", "skip_rollout"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Person(BaseModel):
    """Somebody with a key. `until` is the last day on which what they sign counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Name
    roles: list[Role] = Field(min_length=1)
    key: str
    until: dt.date | None = None

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, key: str) -> str:
        public_key(key)
        return key


class May(BaseModel):
    """Which roles may do what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    approve: list[Role]
    waive_warn: list[Role]
    waive_block: list[Role]
    accept_risk: list[Role]
    skip_rollout: list[Role]


class Roles(BaseModel):
    """The people and what their roles may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    people: list[Person]
    may: May

    @model_validator(mode="after")
    def _a_key_has_one_owner(self) -> Self:
        keys = [person.key for person in self.people]
        shared = sorted({person.name for person in self.people if keys.count(person.key) > 1})
        if shared:
            raise ValueError(f"the same key stands more than once, by {', '.join(shared)}; everybody has their own")
        return self

    def allowed(self, act: Act) -> list[Role]:
        """The roles that may do it."""
        roles: list[Role] = getattr(self.may, act)
        return roles

    def owner(self, key: Ed25519PrivateKey) -> Person:
        """Whose private key this is."""
        found = [person for person in self.people if person.key == public_text(key)]
        if not found:
            names = ", ".join(sorted({person.name for person in self.people})) or "nobody"
            raise BadInput(f"this key is nobody's in {ROLES}, which lists {names}; add its public key there")
        return found[0]

    def role_for(self, person: Person, act: Act, wanted: list[str] | None = None) -> Role:
        """The first role of a person that may do it, and is wanted."""
        fit = [r for r in person.roles if r in self.allowed(act) and (wanted is None or r in wanted)]
        if not fit:
            needed = [r for r in self.allowed(act) if wanted is None or r in wanted]
            raise BadInput(
                f"{person.name} holds {', '.join(person.roles)}; to {act.replace('_', ' ')} takes "
                f"{' or '.join(needed) or 'a role that no role here may stand in for'} ({ROLES})"
            )
        return fit[0]


def load_roles(path: Path = ROLES) -> Roles:
    """Read and check the roles; BadInput names the file and the key."""
    keys = (
        f"are {', '.join(Roles.model_fields)}, of a person {', '.join(Person.model_fields)}, of may "
        f"{', '.join(May.model_fields)}"
    )
    return read_governance_file(Roles, path, "roles", keys, it="the file")


def statement(by: str, role: str, why: str, now: dt.datetime, until: dt.date | dt.datetime) -> dict[str, Any]:
    """What every such entry says beside its own subject: by whom, in which role, why, when, until when."""
    if not why.strip():
        raise BadInput("a reason is needed, for whoever reads this later: --why TEXT")
    times = {"at": now.isoformat(timespec="seconds"), "until": until.isoformat()}
    return {"by": by, "role": role, "why": why.strip(), **times}


def signer_fault(entry: Entry, act: Act, roles: Roles) -> str | None:
    """Why the signature under an entry does not count, or None; whether it has run out is another question."""
    return next(_signer_faults(entry, act, roles), None)


def _signer_faults(entry: Entry, act: Act, roles: Roles) -> Iterator[str]:
    """The faults in the order in which they are looked for; each rests on those before it."""
    body = entry.body
    if lacking := [key for key in SAID if not isinstance(body.get(key), str)]:
        yield f"it lacks {', '.join(lacking)}"
    known = [person for person in roles.people if person.name == body.get("by")]
    if not known:
        yield f"{ROLES} lists nobody called {body.get('by')}"
    signers = [person for person in known if is_signed(entry.kind, entry.project, body, person.key)]
    if not signers:
        yield f"its signature is not {body.get('by')}'s"
        return
    signer, entered = signers[0], instant(entry.at)
    try:
        signed, _ = instant(body["at"]), instant(body["until"])
    except ValueError as error:
        yield f"its times cannot be read: {error}"
        return
    if signed > entered + SKEW:
        yield f"it is dated {body['at']}, after it was entered"
    if signer.until is not None and entered.date() > signer.until:
        yield f"{signer.name}'s key counted until {signer.until}"
    if body["role"] not in signer.roles:
        yield f"{signer.name} does not hold the role {body['role']}"
    if body["role"] not in roles.allowed(act):
        yield f"the role {body['role']} may not {act.replace('_', ' ')}"


def instant(text: str) -> dt.datetime:
    """A date or a time of an entry; UTC where no offset is given."""
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
