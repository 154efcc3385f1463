"""Where a rollout stands: a tag of the challenger's version, which the service reads, and the ledger's entries.

The ledger is the truth: each entry of kind `rollout` is what one run decided, and those that moved it say from where to
where. The tag is moved with the entry or not at all (tasks/registry.py), so that a service that polls it needs MLflow
alone. A tag of another champion's time, or none, means that no rollout is on: all traffic is the champion's.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tasks.errors import DigestMismatch, RegistryTrouble
from tasks.ledger import Entry
from tasks.registry import Registry
from tasks.rollout_rules import RolloutRules, Step

KIND = "rollout"
TAG = "keel.rollout"
BEGIN, ADVANCE, SKIP, HOLD, ABORT, PROMOTE = "BEGIN", "ADVANCE", "SKIP", "HOLD", "ABORT", "PROMOTE"
ENDS = (ABORT, PROMOTE)


@dataclass(frozen=True)
class Standing:
    """A step that a challenger is at: of which kind, with which share of the clients, told apart by which salt.

    `since` is when it came to the step (ISO 8601, UTC), `entry` the number of the intent that brought it there, `begun`
    that of the one that began the rollout; `version` is the challenger's, `champion` the one that it is held against.
    """

    step: str
    kind: Literal["shadow", "canary"]
    share: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    salt: str
    since: str
    version: str
    champion: str
    entry: int
    begun: int

    def text(self) -> str:
        """The value of the tag."""
        return json.dumps(asdict(self), sort_keys=True)

    def at(self, step: Step, entry: int, now: dt.datetime) -> "Standing":
        """The same rollout at another step; the salt stays, so that no client changes arms as the share grows."""
        since = now.isoformat(timespec="seconds")
        return replace(self, step=step.name, kind=step.kind, share=step.share, since=since, entry=entry)


def first_standing(project: str, version: str, champion: str, step: Step, entry: int, now: dt.datetime) -> Standing:
    """The first step of a rollout that the intent of that number begins."""
    since = now.isoformat(timespec="seconds")
    return Standing(
        step.name, step.kind, step.share, f"{project} {entry}", since, version, champion, entry, begun=entry
    )


def standing(registry: Registry) -> Standing | None:
    """Where the rollout stands, or None where none is on; two questions to MLflow, RegistryTrouble when it is away."""
    aliases = registry.aliases()
    challenger = aliases["challenger"]
    if challenger is None:
        return None
    found = read_tag(registry.project, challenger, registry.version_tags(challenger).get(TAG, ""))
    return found if found and (found.version, found.champion) == (challenger, aliases["champion"]) else None


def read_tag(project: str, version: str, text: str) -> Standing | None:
    """The standing that a tag tells; DigestMismatch when it is none."""
    if not text:
        return None
    try:
        return TypeAdapter(Standing).validate_json(text, strict=True)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, p['loc']))} {p['msg']}".strip() for p in error.errors())
        raise DigestMismatch(
            f"the tag {TAG} of version {version} of {project} is no step of a rollout ({said}); it was changed by "
            "hand: set it back in MLflow to what `keel show` has, or `keel rollout abort`"
        ) from error


def rollout_entries(entries: list[Entry]) -> list[Entry]:
    """What the runs decided, oldest first."""
    return [entry for entry in entries if entry.kind == KIND]


def recorded_standing(entries: list[Entry]) -> dict[str, Any] | None:
    """Where the newest move in the ledger left its challenger; None before the first, and after an end."""
    moves = [entry for entry in rollout_entries(entries) if entry.body["move"] != HOLD]
    return moves[-1].body["standing"] if moves else None


def refuse_hand_set(registry: Registry, found: Standing | None, entries: list[Entry]) -> None:
    """RegistryTrouble when the tag says another step than the ledger's moves lead to: so a step cannot be skipped."""
    aliases, known = registry.aliases(), recorded_standing(entries)
    if known and (known["version"], known["champion"]) != (aliases["challenger"], aliases["champion"]):
        known = None  # another challenger or champion came in between
    if (asdict(found) if found else None) == known:
        return
    tagged, recorded = (found.step if found else "none"), (known["step"] if known else "none")
    raise RegistryTrouble(
        f"version {aliases['challenger']} of {registry.project} is at step {tagged} by its tag {TAG}, at step "
        f"{recorded} by the ledger: the tag was changed by hand; set it back in MLflow, or `keel rollout abort`"
    )


def last_of(entries: list[Entry], found: Standing) -> Entry | None:
    """The newest entry of the rollout that stands there."""
    return next((e for e in reversed(rollout_entries(entries)) if e.body.get("begun") == found.begun), None)


def beginning(entries: list[Entry], found: Standing) -> Entry:
    """The entry by which the rollout that stands there began."""
    return next(e for e in rollout_entries(entries) if e.body["begun"] == found.begun)


def began_at(entries: list[Entry], found: Standing) -> dt.datetime:
    """When the rollout that stands there came to its first step."""
    return dt.datetime.fromisoformat(beginning(entries, found).body["standing"]["since"])


def still_on_its_way(version: str, champion: str, entries: list[Entry], rules: RolloutRules) -> list[str]:
    """Why a release does not promote a version: its rollout is not over, or its rules ask for one.

    Rules that lose their steps while it is on end nothing: that would skip what is left without a signature.
    """
    known = recorded_standing(entries)
    on = known is not None and (known["version"], known["champion"]) == (version, champion)
    if not rules.steps:
        at = f"version {version} is at step {known['step']} of a rollout, and the rules" if on and known else ""
        return [f"{at} have no steps any more; put them back, or `keel rollout abort`"] if at else []
    steps = ", ".join(step.name for step in rules.steps)
    if known is None or not on:
        place = f"; it takes the place of version {known['version']}" if known else ""
        return [f"version {version} has to go through the steps {steps} first{place}: the next `keel rollout` begins"]
    said = next(e.body["sentence"] for e in reversed(rollout_entries(entries)) if e.body["begun"] == known["begun"])
    return [f"version {version} is on its way through the steps {steps}: {said}"]
