"""A challenger on its way: each run reads the evidence and moves it on, waits, takes it off, or promotes it.

One run makes one entry in the ledger, or finds that it has nothing to add to the last one. A person may take a
challenger off with a reason, and skip steps with a signed record of an emergency.
"""

import datetime as dt
import logging
from pathlib import Path

from prefect import flow

from flows.common import PROJECTS, reach_registry
from tasks.clearance import kept_out
from tasks.emergency import EMERGENCY, new_emergency
from tasks.errors import BadInput
from tasks.events import rollout_event
from tasks.lease import hold
from tasks.ledger import Entry
from tasks.move_rollout import Move, move_rollout, publish_promotion
from tasks.notify import announce
from tasks.places import log_place
from tasks.project import Project, load_project
from tasks.registry import Registry
from tasks.roles import load_roles
from tasks.rollout import (
    ABORT,
    ADVANCE,
    BEGIN,
    HOLD,
    PROMOTE,
    SKIP,
    Standing,
    beginning,
    last_of,
    recorded_standing,
    refuse_hand_set,
    standing,
)
from tasks.rollout_evidence import Evidence
from tasks.rollout_rules import PROMOTION
from tasks.rollout_verdict import next_move
from tasks.settings import prepare_environment
from tasks.signatures import read_key
from tasks.watch import Watch, load_watch
from tasks.watch_rollout import watch_rollout

logger = logging.getLogger("flows.rollout")


@flow(name="rollout", validate_parameters=False)
def rollout(project: str = "digits", now: dt.datetime | None = None) -> Entry | None:
    """Judge the challenger as of now; the entry of what was decided, or None where there is nobody to judge."""
    about, registry, watch, now = _begin(project, now)
    with hold(registry.ledger, f"{project}.rollout", registry.chosen.state, wait=1):
        publish_promotion(registry)
        aliases = registry.aliases()
        entries, found = registry.ledger.sound(project), standing(registry)
        if aliases["challenger"] is None or aliases["champion"] is None or not (watch.rollout.steps or found):
            logger.info("%s has no challenger that goes through steps", project)
            return None
        refuse_hand_set(registry, found, entries)
        if found and beginning(entries, found).body.get("rules") == watch.rollout.digest():
            move, rows = judged(registry, about, watch, found, now)
        else:
            move, rows = first_move(project, watch, aliases["challenger"], found, entries, now), []
        return _do(registry, about, move, rows, now)


@flow(name="skip-rollout", validate_parameters=False)
def skip(project: str, to: str, why: str, key: Path, now: dt.datetime | None = None) -> Entry:
    """Take the rollout to a later step, or to promotion, by the signature of somebody who may; BadInput says who may.

    Approvals, risks and the checks of the version stand in its way as they do in any other's.
    """
    about, registry, watch, now = _begin(project, now)
    entries, found = registry.ledger.sound(project), standing(registry)
    refuse_hand_set(registry, found, entries)
    if found is None:
        raise BadInput(f"no rollout of {project} is on; `keel rollout run` begins one where there is a challenger")
    body = new_emergency(project, found, to, watch.rollout, why, load_roles(), read_key(key), now)
    for line in kept_out(project, found.version, entries, now):
        raise BadInput(f"no emergency lets version {found.version} in: {line}")
    record = registry.ledger.append(EMERGENCY, project, body)
    step = None if to == PROMOTION else watch.rollout.step(to)
    said = f"{why.strip()} ({body['by']}, {body['role']}, entry {record.number})"
    move = Move(
        *(PROMOTE if step is None else SKIP, found.version, found, step),
        sentences=[],
        evidence=evidence_of(entries, found),
        emergency=record.number,
        why=said,
    )
    return _do(registry, about, move, [], now)


@flow(name="abort-rollout", validate_parameters=False)
def abort(project: str, why: str, now: dt.datetime | None = None) -> Entry:
    """Take the challenger off by a person's word, at whatever step it is; it is withdrawn from then on."""
    about, registry, _, now = _begin(project, now)
    if not why.strip():
        raise BadInput("a rollout that a person ends needs a reason, for whoever reads this later: --why TEXT")
    version = registry.aliases()["challenger"]
    if version is None:
        raise BadInput(f"{project} has no challenger; `keel status` shows where things stand")
    known = recorded_standing(registry.ledger.sound(project))
    found = Standing(**known) if known and known["version"] == version else None
    evidence = evidence_of(registry.ledger.read(project), found) if found else None
    return _do(registry, about, Move(ABORT, version, found, None, [], evidence, why=why.strip()), [], now)


def judged(
    registry: Registry, about: Project, watch: Watch, found: Standing, now: dt.datetime
) -> tuple[Move, list[dict[str, object]]]:
    """What the evidence asks for at the step where the rollout stands, and the labels that it counts."""
    step = watch.rollout.step(found.step)
    ours, theirs = (registry.version_tags(version)["model_digest"] for version in (found.champion, found.version))
    evidence, rows = watch_rollout(registry.ledger, log_place(), about, watch, found, (ours, theirs), now)
    nights = (watch.today(now) - watch.today(dt.datetime.fromisoformat(found.since))).days
    move, sentences = next_move(evidence, step, watch.rollout, nights)
    if move in (ADVANCE, PROMOTE):
        barred = kept_out(about.name, found.version, registry.ledger.read(about.name), now)
        move, sentences = (HOLD, [*barred, *sentences]) if barred else (move, sentences)
    goes_to = watch.rollout.after(step.name) if move == ADVANCE else None
    return Move(move, found.version, found, goes_to, sentences, evidence), rows


def first_move(
    project: str, watch: Watch, version: str, found: Standing | None, entries: list[Entry], now: dt.datetime
) -> Move:
    """Begin with the first step, unless something keeps the version out.

    One that is on its way begins anew when the rules were changed: what it was shown to be, it was by others.
    BadInput when they have no steps any more.
    """
    if not watch.rollout.steps:
        raise BadInput(
            f"the rules of the rollout have no steps any more, and version {version} is on its way: put them back, or "
            "`keel rollout abort`"
        )
    barred = kept_out(project, version, entries, now)
    if barred:
        return Move(HOLD, version, found, None, barred, None)
    known = recorded_standing(entries)
    before = "" if known is None else f"; version {known['version']} beside version {known['champion']} is given up"
    if found is not None:
        before = f"; the rules were changed since entry {beginning(entries, found).number}, by which it had begun"
    steps = ", ".join(step.name for step in watch.rollout.steps)
    said, rules = f"the steps are {steps}{before}", watch.rollout.digest()
    return Move(BEGIN, version, found, watch.rollout.steps[0], [said], None, rules=rules)


def evidence_of(entries: list[Entry], found: Standing) -> Evidence | None:
    """What the newest run of the rollout had seen."""
    last = last_of(entries, found)
    return None if last is None or last.body["evidence"] is None else Evidence.model_validate(last.body["evidence"])


def _do(registry: Registry, about: Project, move: Move, rows: list[dict[str, object]], now: dt.datetime) -> Entry:
    entry = move_rollout(registry, move, rows, about.cases, now)
    publish_promotion(registry)
    if entry.body["move"] != HOLD:
        announce([rollout_event(entry)])
    return entry


def _begin(project: str, now: dt.datetime | None) -> tuple[Project, Registry, Watch, dt.datetime]:
    chosen = prepare_environment()
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    about = load_project(PROJECTS / f"{project}.yaml")
    return about, reach_registry(about.name, chosen), load_watch(about.watch), now or dt.datetime.now(dt.UTC)
