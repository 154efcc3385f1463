"""Ask by the labels that have arrived whether the champion does harm: the monitors of tasks/harm.py, a night further.

A label counts once, on the first night that finds it, whichever night its image belongs to; the figures of that night
are worked out anew from all of its labels whenever they are shown.
"""

import dataclasses
import logging
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.counted import arrived, counted_images, rows_to_count
from tasks.e_detector import MonitorState
from tasks.errors import DataRejected
from tasks.harm import Alarm, Harm, accepted_risks, advance_all, begin_all, carried, judge_harm, open_alarm, unwatched
from tasks.ledger import Ledger
from tasks.night import CANNOT_JUDGE, HARM, WATCH, Answer
from tasks.night_tables import ScoredWindow, fair_weights, with_labels
from tasks.nights import error_figure
from tasks.versions import Served
from tasks.watch import Watch
from tasks.windows import Window, labels_source

SHARE = "{:.1f} %"
MANY = 1_000_000
logger = logging.getLogger("tasks.watch_harm")


@task(cache_policy=NO_CACHE)
def watch_harm(
    ledger: Ledger,
    project: str,
    watch: Watch,
    champion: Served,
    tonight: Window,
    scored: list[tuple[Window, ScoredWindow]],
    before: dict[str, Any],
    requests: dict[str, dict[str, float]],
) -> Answer:
    """The answer of the labels that arrived until `tonight`.

    `scored` are the windows that the champion has answered, tonight's last; `before` is the `harm` of the last night on
    record, or nothing; `requests` are the images that were asked for, night by night, with the weights of their losses.
    Labels of a window that cannot be read count on the night after they were corrected, and hold up no others.
    """
    own = before if before.get("model") == champion.digest else {}
    read: dict[str, str] = own.get("read", {})
    was_open = Alarm(**own["open"]) if own.get("open") else None
    sources = {window.name: labels_source(window.folder, tonight.date) for window, _ in scored}
    changed = [pair for pair in scored if sources[pair[0].name] != read.get(pair[0].name)]
    known = counted_images(ledger, project, champion.digest)
    tables, unread = read_all(changed, champion, tonight)
    sources = {name: source for name, source in sources.items() if name not in unread}
    weighted = [fresh for table in tables if len(fresh := fairly(table, known, requests))]
    fresh = pd.concat(weighted) if weighted else pd.DataFrame({"window": [], "image_id": [], "label": []})
    accepted = accepted_risks(list(champion.findings().values()))
    states = {key: MonitorState.model_validate(state) for key, state in before.get("states", {}).items()}
    states = carried(begin_all(states, watch.harm, accepted, champion.digest), watch.harm) if states else states
    if len(fresh):
        states = advance_all(states, watch.harm, fresh, accepted, champion.digest, tonight.name)
    harm = judge_harm(states, watch.harm) if states else None
    is_open = open_alarm(was_open, harm, tonight.name) if harm and (was_open or len(fresh)) else None
    facts = {
        "model": champion.digest,
        "read": sources,
        "states": {key: state.model_dump(mode="json") for key, state in states.items()},
        "counted": len(fresh),
        "count": rows_to_count(project, champion.digest, tonight.name, fresh),
        "figures": figures_by_night(fresh, watch.level),
        "unwatched": unwatched(watch.harm, fresh, accepted) if len(fresh) else [],
        **({"harm": dataclasses.asdict(harm)} if harm else {}),
        **({"open": dataclasses.asdict(is_open)} if is_open else {}),
        **({"over": dataclasses.asdict(was_open)} if was_open and not is_open else {}),
    }
    said = [*say_labels(fresh, tonight, watch), *(say_harm(harm, states, watch, was_open) if harm else [])]
    against = "" if harm is None else HARM if harm.alarm and len(fresh) else WATCH if harm.warning else ""
    if was_open or is_open:
        said.reverse()
    if against == HARM:
        return Answer(True, HARM, (*said, *unread.values()), facts)
    if unread:
        return Answer(True, CANNOT_JUDGE, (*unread.values(), *said), facts)
    return Answer(harm is not None and len(fresh) >= watch.least_images, against, tuple(said), facts)


def read_all(
    pairs: list[tuple[Window, ScoredWindow]], champion: Served, tonight: Window
) -> tuple[list[pd.DataFrame], dict[str, str]]:
    """The answers with labels of each window; and for each whose labels cannot be read, the sentence that says why."""
    tables, unread = [], {}
    for window, scored in pairs:
        try:
            tables.append(labelled(window, scored, champion, tonight))
        except DataRejected as error:
            unread[window.name] = f"the labels of the night {window.name} cannot be read: {error}"
    return tables, unread


def labelled(window: Window, scored: ScoredWindow, champion: Served, tonight: Window) -> pd.DataFrame:
    """The champion's answers to a window, with the labels as they are known by tonight."""
    return with_labels(scored.answers(champion.digest), window.folder, tonight.date).assign(window=window.name)


def fairly(table: pd.DataFrame, known: set[tuple[str, str]], requests: dict[str, dict[str, float]]) -> pd.DataFrame:
    """The labels of one window that count from tonight on, with the weight of each; some wait (`fair_weights`)."""
    told = table[table["label"] != ""]
    asked = requests.get(table["window"].iloc[0], {}) if len(table) else {}
    weighted = told.assign(weight=fair_weights(told["image_id"], asked, whole=len(told) == len(table)))
    return arrived(weighted[weighted["weight"].notna()], known)


def figures_by_night(fresh: pd.DataFrame, level: float) -> dict[str, dict[str, float]]:
    """For each night whose labels arrived: how many, how many wrong, and the error with its Wilson interval."""
    found = {}
    for window, rows in fresh.groupby("window"):
        wrong = int((rows["predicted"] != rows["label"]).sum())
        found[str(window)] = error_figure(len(rows), wrong, level)
    return found


def say_labels(fresh: pd.DataFrame, tonight: Window, watch: Watch) -> list[str]:
    """How many labels arrived, and how often they say that the champion was wrong."""
    if not len(fresh):
        return ["no label arrived"]
    said = []
    for window, figure in figures_by_night(fresh, watch.level).items():
        low, high = SHARE.format(100 * figure["low"]), SHARE.format(100 * figure["high"])
        whose = "" if window == tonight.name else f" of the night {window}"
        said.append(
            f"wrong answers{whose}: {figure['wrong']:.0f} of {figure['n']} whose labels arrived, an error of "
            f"{SHARE.format(100 * figure['error'])} [{low}, {high}]"
        )
    return said


def say_harm(harm: Harm, states: dict[str, MonitorState], watch: Watch, alarm: Alarm | None) -> list[str]:
    """What the monitors say, with what they tolerate and how often they cry for nothing.

    `alarm` is the one that was open before this night.
    """
    state = states[harm.leading]
    where = f"{harm.leading} (tolerated: {SHARE.format(100 * state.tolerated)})"
    rules = watch.harm
    evidence = f"{counted_evidence(harm)} of {rules.average_run_length:,}"
    if alarm is not None and not harm.warning:
        return [
            f"the harm found on {alarm.night} is over: the evidence stands at {harm.evidence:,.1f}, and an alarm stays "
            f"open at {rules.early_warning:,} or more; the monitors begin anew"
        ]
    if alarm is not None:
        goes_on = "goes on" if harm.alarm else "is not over"
        return [
            f"the harm found on {alarm.night} {goes_on}, by {where}: evidence {evidence}; it is over once the evidence "
            f"falls below {rules.early_warning:,}"
        ]
    if harm.alarm:
        began = f", most likely since {harm.began}" if harm.began else ""
        return [
            f"the champion errs more than was accepted, by {where}{began}: evidence {evidence}, which without harm is "
            f"reached once in {rules.average_run_length:,} nights or more rarely"
        ]
    if harm.warning:
        return [
            f"the evidence for harm stands at {evidence}, most of it by {where}; without harm it reaches "
            f"{rules.early_warning:,} once in as many nights or more rarely"
        ]
    said = [f"evidence for harm {harm.evidence:,.1f} of {rules.average_run_length:,}"]
    if harm.short:
        labels = min(states[key].labels for key in harm.short)
        said.append(
            f"{len(harm.short)} of {len(states)} monitors have few labels yet ({labels} the fewest), and say little"
        )
    return said


def counted_evidence(harm: Harm) -> str:
    """The evidence in figures that a person reads: above a million it only says that."""
    return f"{harm.evidence:,.0f}" if harm.evidence < MANY else f"more than {MANY:,}"
