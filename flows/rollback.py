"""Rollback: put an earlier version back, because a person says so or because it is proved better on the images of now.

find the target -> verify it (digest, golden answers, must-pass cases) -> move -> check -> record. Harm alone moves
nothing: where no accepted version is proved better, the input broke and not the model, and the answer says so. The
drill is the same path without the move.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from flows.common import PROJECTS, reach_registry
from tasks.best_version import Choice, RollbackRules, choose
from tasks.decision import decided_by
from tasks.errors import BadInput, KeelError
from tasks.events import rollback_event
from tasks.fallbacks import fallbacks, only_by_hand, why_by_hand
from tasks.ledger import Entry
from tasks.notify import announce
from tasks.project import Project, load_project
from tasks.registry import Registry
from tasks.restore import rehearse, restore
from tasks.score_versions import score_versions
from tasks.settings import prepare_environment

logger = logging.getLogger("flows.rollback")


@dataclass(frozen=True)
class Answer:
    """What was done about harm: the entry of the move, or None; the comparison; and the sentence that says why."""

    moved: Entry | None
    choice: Choice | None
    sentence: str

    def as_evidence(self) -> dict[str, Any]:
        """For the entry of an incident."""
        choice = self.choice.as_evidence() if self.choice else None
        return {"comparison": choice, "rollback": self.moved.number if self.moved else None}


@flow(name="rollback", validate_parameters=False)
def rollback(project: str = "digits", version: str | None = None, why: str = "") -> Entry:
    """Put a version that was accepted and in use before back as champion, by a person's word; None: the previous one.

    The entry that closed the move is returned. Raises BadInput without a reason, or for a version that was never in
    use; and what tasks/restore.py raises for one that does not check out.
    """
    about, registry = _begin(project)
    if not why.strip():
        raise BadInput("a rollback by a person needs a reason, for whoever reads this later: --why TEXT")
    target = version or registry.aliases()["previous"]
    if target is None:
        raise BadInput(f"{project} has no previous version; name one that was in use: `keel changelog` lists them")
    moved = restore(registry, target, why.strip(), {}, about.cases, decided_by())
    announce([rollback_event(moved)])
    return moved


@flow(name="drill", validate_parameters=False)
def drill(project: str = "digits", version: str | None = None) -> Entry:
    """Rehearse a rollback to the version, or to the first that the nightly rules would ask; nothing moves."""
    about, registry = _begin(project)
    target = version or next(iter(fallbacks(registry.ledger.sound(project))), None)
    return rehearse(registry, target, about.cases)


def roll_back_if_proved(
    registry: Registry,
    images: pd.DataFrame,
    data: Path,
    rules: RollbackRules,
    night: dt.date,
    why: str,
    cases: Path | None = None,
) -> Answer:
    """Answer harm, for the nightly flow: move to an accepted version that is proved better, or say why nothing moves.

    `images` are the labelled images of the current windows below `data`, as tasks/night_tables.py has them; `why` is
    the sentence of the harm that was found; `cases` the project's must-pass cases. A version that was proved better and
    does not check out leaves the registry as it was. Where every other version is withdrawn, these are compared all the
    same, so that the person who alone may put one back knows which.
    """
    entries, champion = registry.ledger.sound(registry.project), registry.aliases()["champion"]
    if champion is None:
        return Answer(None, None, f"no move: {registry.project} has no champion")
    versions = fallbacks(entries, rules.candidates) or only_by_hand(entries, rules.candidates)
    try:
        losses = score_versions(registry, [champion, *versions], data, images)
        choice = choose(losses, champion, rules.average_run_length, rules.least_labels)
    except KeelError as error:
        logger.warning("%s", error)
        return Answer(None, None, f"no move: the versions could not be compared: {error}")
    if choice.version is None:
        return Answer(None, choice, choice.sentence)
    if (by_hand := why_by_hand(entries, rules, night, choice.version)) is not None:
        return Answer(None, choice, f"no move: {choice.sentence}, but {by_hand}")
    evidence = {"night": night.isoformat(), "comparison": choice.as_evidence()}
    try:
        moved = restore(registry, choice.version, f"{why}; {choice.sentence}", evidence, cases)
    except KeelError as error:
        logger.warning("%s", error)
        return Answer(None, choice, f"no move: {choice.sentence}, but putting it back failed: {error}")
    return Answer(moved, choice, f"version {choice.version} was put back: {choice.sentence}")


def _begin(project: str) -> tuple[Project, Registry]:
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    return about, reach_registry(about.name, chosen)
