"""Move a rollout one step, begin it, end it or keep it where it is: one entry in the ledger, and the tag with it.

Before a challenger gets further it is fetched as MLflow serves it and asked what it was accepted with, as is a version
that is put back (tasks/restore.py). An end takes the alias off in the same change, and the champion is asked through
its alias afterwards. A failure puts tag and aliases back; a kill is repaired at the next start.
"""

import datetime as dt
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.counted import counted
from tasks.decision import decided_by, what_was_done, write_decision
from tasks.errors import KeelError, RegistryTrouble
from tasks.golden import ask_champion, read_golden
from tasks.history import newest_decision
from tasks.ledger import Entry
from tasks.registry import Registry
from tasks.restore import check_version, refuse_hand_moved
from tasks.rollout import (
    ABORT,
    BEGIN,
    HOLD,
    KIND,
    PROMOTE,
    TAG,
    Standing,
    first_standing,
    rollout_entries,
    standing,
)
from tasks.rollout_evidence import Evidence
from tasks.rollout_rules import Step

logger = logging.getLogger("tasks.move_rollout")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Move:
    """What a run has decided: the move, from where, to which step (None: none), why, and on which evidence.

    `emergency` is the entry that lets a step be skipped; `why` a person's reason, None where the rules decided.
    """

    move: str
    version: str
    found: Standing | None
    step: Step | None
    sentences: list[str]
    evidence: Evidence | None
    emergency: int | None = None
    why: str | None = None
    rules: str = ""  # of BEGIN: the digest of the rules that it goes by to its end

    def sentence(self) -> str:
        """The move in one sentence."""
        at = f" at step {self.found.step}" if self.found else ""
        to = {PROMOTE: ", champion from now on", ABORT: ", withdrawn"}.get(self.move, "")
        to = f" to step {self.step.name}" if self.step else to
        return f"version {self.version}{at}: {self.move}{to}: {self.why or self.sentences[0]}"

    def body(self, champion: str | None) -> dict[str, Any]:
        """What the entry says beside where the rollout stands from then on."""
        return {
            "move": self.move,
            "version": self.version,
            "champion": champion,
            "begun": self.found.begun if self.found else None,
            "from": self.found.step if self.found else None,
            "to": self.step.name if self.step else None,
            "sentence": self.sentence(),
            "sentences": self.sentences,
            "evidence": self.evidence.model_dump(mode="json") if self.evidence else None,
            "emergency": self.emergency,
            "why": self.why,
            "rules": self.rules,
            "by": decided_by(),
            "by_a_person": self.why is not None,
        }


@task(cache_policy=NO_CACHE)
def move_rollout(registry: Registry, move: Move, rows: Rows, cases: Path | None, now: dt.datetime) -> Entry:
    """Make the move and return its entry; the same HOLD on the same evidence is entered once.

    `rows` are the labels that count from now on, written with the entry or not at all; `cases` the project's must-pass
    cases. Raises RegistryTrouble when the rollout has moved since it was looked at, and what tasks/restore.py raises
    for a version that does not check out.
    """
    with registry.alone():
        entries, aliases = registry.ledger.sound(registry.project), registry.aliases()
        if move.move != ABORT:  # which must be possible whatever was moved by hand
            refuse_hand_moved(registry, entries)
        if aliases["challenger"] != move.version or (move.move != ABORT and standing(registry) != move.found):
            raise RegistryTrouble(f"the rollout of {registry.project} moved meanwhile; run the same command again")
        body = move.body(aliases["champion"])
        if move.move == HOLD:
            return keep(registry, entries, move, body, rows)
        smoke, golden = None, None
        if move.move != ABORT:
            decision = newest_decision(move.version, entries)
            smoke, golden = check_version(registry, move.version, entries, decision, cases)
            body["smoke"] = asdict(smoke)
        entry = _change(registry, move, body, rows, golden, now)
    logger.info("%s", entry.body["sentence"])
    return entry


def keep(registry: Registry, entries: list[Entry], move: Move, body: dict[str, Any], rows: Rows) -> Entry:
    """The entry of a run that moved nothing; the last one, where it says the same."""
    known = rollout_entries(entries)
    if known and not rows and body.items() <= known[-1].body.items():
        logger.info("on record: %s", known[-1].body["sentence"])
        return known[-1]
    logger.info("%s", body["sentence"])
    return registry.enter(KIND, {**body, "standing": asdict(move.found) if move.found else None}, (counted, rows))


def _change(
    registry: Registry, move: Move, body: dict[str, Any], rows: Rows, golden: pd.DataFrame | None, now: dt.datetime
) -> Entry:
    version, action = move.version, "promote" if move.move == PROMOTE else KIND
    before = registry.version_tags(version)
    about: dict[str, Any] = {"move": move.move, "version": version, "tags_before": {TAG: before.get(TAG, "")}}
    if move.move == PROMOTE:
        about["decision"] = int(before["decision"])
    with registry.change(action, about) as change:
        after = _after(registry, move, body["champion"], change.number, now)
        registry.tag(version, {TAG: after.text() if after else ""})
        aliases = registry.aliases()
        if move.move == PROMOTE and golden is not None:
            registry.set_aliases({"champion": version, "previous": aliases["champion"], "challenger": None})
            ask_champion(registry, version, golden)
        elif move.move == ABORT:
            registry.set_aliases({**aliases, "challenger": None})
            body["champion_answers"] = ask_again(registry, aliases["champion"])
        if standing(registry) != after:
            raise RegistryTrouble(
                f"version {version} of {registry.project} did not come to its step; see MLflow's tags"
            )
        begun = {"begun": after.begun} if after else {}
        at = asdict(after) if after else None
        return change.close(KIND, {**body, **begun, "action": action, "standing": at}, (counted, rows))


def _after(registry: Registry, move: Move, champion: str, number: int, now: dt.datetime) -> Standing | None:
    """Where the rollout stands once the change of that number is made."""
    if move.step is None:
        return None
    if move.move == BEGIN or move.found is None:
        return first_standing(registry.project, move.version, champion, move.step, number, now)
    return move.found.at(move.step, number, now)


def ask_again(registry: Registry, champion: str | None) -> str:
    """Whether the champion answers as it was accepted; what is wrong with it keeps no challenger in use."""
    if champion is None:
        return "there is no champion"
    try:
        with registry.logged(champion) as folder:
            ask_champion(registry, champion, read_golden(folder, f"version {champion}"))
    except KeelError as error:
        logger.warning("%s", error)
        return str(error)
    return "as accepted"


@task(cache_policy=NO_CACHE)
def publish_promotion(registry: Registry) -> None:
    """Say in the record of the decision that its version was promoted, where the newest run of a rollout did that."""
    entries = registry.ledger.read(registry.project)
    known = rollout_entries(entries)
    if known and known[-1].body["move"] == PROMOTE:
        decision = newest_decision(known[-1].body["version"], entries)
        write_decision(decision, what_was_done(decision, entries))
