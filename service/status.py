"""What the page of the service tells: what is live and why, the rollout, the nights, alarms, reports of users.

All of it is read from the ledger, the store of reports and the service itself; nothing is counted here.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.alerts import lasting
from tasks.feedback import Filed
from tasks.feedback_rules import TrendRules
from tasks.feedback_trend import WORSE, opinion, trend
from tasks.history import RESTORE, Deployment, deployments, who_put_back
from tasks.incident import INCIDENT, last_answer
from tasks.ledger import Entry
from tasks.night import HARM, HEALTHY, Night
from tasks.nights import nights_on_record
from tasks.rollout import HOLD, Standing, rollout_entries
from tasks.rollout_rules import RolloutRules

NIGHTS = 21  # that are shown as squares
MOVES = 6  # of the rollouts
MOOD = {HEALTHY: "good", HARM: "bad"}
REPORTS = (  # what a release and the nights leave below the project's folder of runs
    ("pages/report.html", "report of the release"),
    ("pages/brief.html", "one-page brief"),
    ("card/card.html", "model card"),
    ("nights/nights.html", "all nights"),
)


@dataclass(frozen=True)
class Said:
    """What is live, and the records that the page is made from."""

    entries: list[Entry]
    filed: Sequence[Filed] | None  # None: the store of reports is away
    standing: Standing | None
    steps: RolloutRules
    feedback: TrendRules
    today: dt.date


def what_is_live(entries: list[Entry]) -> dict[str, str] | None:
    """Version, since when, and the sentence why; None before the first promotion."""
    found = deployments(entries)
    return None if not found else {"version": found[-1].version, "since": found[-1].since.at, "why": _why(found[-1])}


def _why(deployed: Deployment) -> str:
    if deployed.since.body["action"] == RESTORE:
        return who_put_back(deployed.since)
    return (
        f"decision {deployed.decision.number} by {deployed.decision.body['by']}: {deployed.decision.body['sentence']}"
    )


def rollout_of(said: Said) -> dict[str, Any]:
    """The steps, which of them is current, and the newest moves with their sentences."""
    names = [step.name for step in said.steps.steps]
    current = names.index(said.standing.step) if said.standing and said.standing.step in names else None
    steps = [
        {"name": name, "state": "" if current is None else ("past", "now", "next")[(at >= current) + (at > current)]}
        for at, name in enumerate([*names, "promoted"])
    ]
    moves = [
        {
            "at": e.at,
            "move": e.body["move"],
            "sentence": e.body["sentence"],
            "mood": "open" if e.body["move"] == HOLD else "",
        }
        for e in rollout_entries(said.entries)[-MOVES:]
    ]
    return {"on": said.standing, "steps": steps if names else [], "moves": moves[::-1]}


def nights_of(entries: list[Entry], runs: Path) -> list[dict[str, str]]:
    """The last nights, oldest first, with a link where their page is there."""
    return [_night(night, runs) for night in list(nights_on_record(entries).values())[-NIGHTS:]]


def _night(night: Night, runs: Path) -> dict[str, str]:
    page = f"nights/{night.night}/night.html"
    return {
        "night": night.night,
        "verdict": night.verdict,
        "mood": MOOD.get(night.verdict, "open"),
        "sentence": night.sentence.partition(": ")[2],
        "link": f"reports/{page}" if (runs / page).is_file() else "",
    }


def alarms_of(entries: list[Entry]) -> list[str]:
    """Alarms that were told and have not ended, and the newest incident of a night since the last healthy one."""
    nights = list(nights_on_record(entries).values())
    healthy = max((night.night for night in nights if night.verdict == HEALTHY), default="")
    open_since = [e for e in entries if e.kind == INCIDENT and e.body["night"] > healthy][-1:]
    told = [f"{verdict}: {cause}" for verdict, cause in lasting(entries)]
    return told + [
        f"incident of {one.body['night']}: {one.body['cause']}; {last_answer(one, entries).body['action']}"
        for one in open_since
    ]


def reports_of(said: Said) -> dict[str, str]:
    """What users report, and whether it agrees with the last night."""
    if said.filed is None:
        return {"sentence": "the store of reports cannot be read", "mood": "bad"}
    nights = list(nights_on_record(said.entries).values())
    found = trend(said.filed, said.today, said.feedback)
    last = nights[-1].verdict if nights else None
    return {"sentence": opinion(last, found), "mood": "open" if found.direction == WORSE else ""}


def links_of(runs: Path) -> list[tuple[str, str]]:
    """The reports that are there."""
    return [(f"reports/{place}", name) for place, name in REPORTS if (runs / place).is_file()]
