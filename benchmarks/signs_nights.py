"""Nights of real photographs: another camera, other days, other people. Were the verdicts right, with hindsight?

    python -m benchmarks.signs_nights FOLDER

FOLDER holds 2,062 photographs of hands that show a digit (Mavi 2020, arXiv:2011.08927), with metadata.csv: file_name,
label, subject, device, captured_at. One camera took those of the first day, a telephone those of eight sessions on the
three days after, always of other people. Nothing is simulated, and nobody shifted anything on purpose. Two replays,
each in a temporary checkout with its own registry and ledger, through the real flows, release first and then a night
for each session: A is trained on the camera's day alone (211 photographs of 21 people) and works on eight sessions; B
is trained on that day and the first two sessions and works on the other six.

For each night stand its error with the interval over people, the error that was expected without labels, what the
monitor tolerates, the drift, the evidence for harm, the verdict, and whether that was right: HARM where the error since
the night on which the monitor says that harm began lies above what is tolerated for sure, HEALTHY where the night's
error does not. WATCH asks somebody to look and claims neither; where the night's error lies above, it is marked late:
there was harm before it was proved. Exits 0 when all verdicts were right, late ones among them, else 1 with those that
were not.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.checkouts import QUICK, change_params, quiet_flows, working_in, write_checkout, write_yaml
from flows.common import PROJECTS, RUNS
from flows.nightly import nightly
from flows.release import release
from tasks.errors import BadInput
from tasks.estimates import estimate_rate
from tasks.findings import Finding
from tasks.folders import METADATA, PRODUCTION
from tasks.incident import INCIDENT
from tasks.ledger import Ledger
from tasks.night import HARM, HEALTHY, WATCH, Night
from tasks.night_tables import ScoredWindow
from tasks.params import EvaluateParams, load_section
from tasks.risks import RISKS
from tasks.settings import prepare_environment
from tasks.verdict import PASS

NAME = "signs"
PLAN, RULES = Path("governance/signs-plan.yaml"), Path("governance/signs-watch.yaml")
FIRST_NIGHT = dt.date(2017, 12, 13)
LEAST_PEOPLE = 10  # for an interval over people; every session has 16 or more
UNASKED = ("champion", "calibration", "fairness", "robustness", "privacy", "latency", "interpretability", "external")
WATCHED: dict[str, Any] = {  # what differs from the bundled rules of the nights
    "owner": "the school's photographers",
    "review_by": dt.date(2027, 5, 31),
    "time_zone": "Europe/Istanbul",
    "level": 0.95,
    "least_images": 50,
    "late_labels_days": 7,
    "catch_up": 8,
    "labels_to_ask": 10,
    "reference": {
        "nights": 2,
        "first": None,
        "reason": "Two sessions are about 50 people; more of them would leave too few nights to judge.",
    },
    "drift": {
        "false_alarm_every": 200,
        "reason": "Somebody looks at twenty photographs; once in 200 sessions for nothing is no burden.",
    },
    "harm": {
        "monitors": [
            {
                "name": "error",
                "risk": "error",
                "slice": "all",
                "margin": 0.05,
                "minimum": 100,
                "reason": "A person has shown ten digits: one error in two of them more is what is noticed.",
            }
        ],
        "average_run_length": 1000,
        "early_warning": 50,
        "reason": "A false alarm stops a session of thirty people; one in a thousand sessions is never, here.",
    },
    "rollback": {
        "average_run_length": 1000,
        "cool_down_nights": 1,
        "least_labels": 100,
        "candidates": 1,
        "reason": "There is one version only, so nothing can be put back; the rules are those of any project.",
    },
}


@dataclass(frozen=True)
class Replay:
    """One history: how many of the sessions are trained on, the bound on accuracy, and what nobody could have known."""

    name: str
    trained_on: int  # sessions, the camera's day being the first
    at_least: float
    why: str
    unknowable: str


REPLAYS = (
    Replay(
        "A, trained on the camera's day",
        1,
        0.45,
        "Some 90 photographs of 9 people leave an interval of 20 points and more. Better than four in ten can be shown "
        "by a model that is right on two in three, and is four times what guessing gives; a higher bound would refuse "
        "all that so few photographs can train.",
        "That the telephone sees other pictures than the camera did: drift is measured from the first nights on, and "
        "the telephone took those too. Only labels could tell, or an estimate from the answers alone.",
    ),
    Replay(
        "B, trained on the camera's day and two sessions of the telephone",
        3,
        0.80,
        "Some 290 photographs of 30 people show four in five when nine in ten are right; below that a person would "
        "look at every photograph again.",
        "Which people would come: a session is 16 to 36 of them, and every one brings other hands.",
    ),
)


@dataclass(frozen=True)
class Row:
    """One night with hindsight: its error, and that since the night on which harm is said to have begun."""

    night: Night
    session: str
    error: Finding
    since: Finding | None
    tolerated: float | None

    @property
    def harmed(self) -> bool:
        """Whether the error lies above what is tolerated for sure: since harm began, or on the night alone."""
        return self.tolerated is not None and (self.since or self.error).low > self.tolerated

    @property
    def late(self) -> bool:
        """Whether somebody was asked to look only, although there was harm."""
        return self.night.verdict == WATCH and self.harmed

    @property
    def fault(self) -> str:
        """Why the verdict was not right; nothing where it was."""
        told, shown = self.night.verdict, shares(self.since or self.error)
        if told not in (HEALTHY, WATCH, HARM):
            return f"nothing was wrong with the window, and the verdict is {told}: {self.night.sentence}"
        if told == HARM and not self.harmed:
            return f"HARM, and the error is {shown}: not above what is tolerated for sure"
        if told == HEALTHY and self.harmed:
            return f"HEALTHY, and the error is {shown}: above what is tolerated for sure"
        return ""


def read_sessions(folder: Path) -> list[tuple[str, pd.DataFrame]]:
    """Each session, `device, day and hour`, with its rows of metadata.csv, in order; BadInput without them."""
    file = folder / METADATA
    if not file.is_file():
        raise BadInput(f"{file} is not there; give the folder that holds the photographs and their metadata.csv")
    table = pd.read_csv(file, dtype=str).sort_values("captured_at")
    hours = table["captured_at"].str[:13].str.replace("T", " ") + "h"
    return [(f"{rows['device'].iloc[0]}, {hour}", rows) for hour, rows in table.groupby(hours)]


def write_images(folder: Path, rows: pd.DataFrame, out: Path) -> None:
    """An image folder of these rows."""
    for name in rows["file_name"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    rows.to_csv(out / METADATA, index=False)


def write_replay(replay: Replay, folder: Path, sessions: list[tuple[str, pd.DataFrame]], root: Path) -> dict[str, str]:
    """The checkout of a replay with its data, plan and rules; the session of each night."""
    write_checkout(root, ("backbones",))
    write_images(folder, pd.concat([rows for _, rows in sessions[: replay.trained_on]]), root / "data")
    nights = {}
    for number, (session, rows) in enumerate(sessions[replay.trained_on :]):
        night = (FIRST_NIGHT + dt.timedelta(days=number)).isoformat()
        write_images(folder, rows, root / "data" / PRODUCTION / night)
        nights[night] = session
    about = {"name": NAME, "data": "data", "plan": str(PLAN), "watch": str(RULES)}
    about |= {"classes": [str(digit) for digit in range(10)], "group": "subject", "unit": "subject"}
    write_yaml(root / PROJECTS / f"{NAME}.yaml", about)
    write_yaml(root / PLAN, plan_of(replay))
    bundled = yaml.safe_load((root / "governance/watch.yaml").read_text(encoding="utf-8"))
    write_yaml(root / RULES, bundled | WATCHED)
    write_yaml(root / RISKS, {"risks": []})
    change_params(root, QUICK | {"shortlist": {"finalists": 1}})
    return nights


def plan_of(replay: Replay) -> dict[str, Any]:
    """The plan: an honest bound on accuracy, and no copies between the splits."""
    accuracy = {"name": "accuracy", "metric": "accuracy", "slice": "test", "at_least": replay.at_least}
    copies = {"name": "no-copies", "metric": "exact_duplicates", "slice": "test", "at_most": 0}
    rest = {"minimum_n": 60, "severity": "block"}
    nothing = {"none": "There is one release, of a study; what follows it is what is asked here."}
    return {
        "version": 1,
        "use_case": "Tell which digit a hand shows, for a replay of four days at a school.",
        "owner": WATCHED["owner"],
        "review_by": WATCHED["review_by"],
        "level": WATCHED["level"],
        **dict.fromkeys(("reuse", "stop", "costs", *UNASKED), nothing),
        "standard": [{**accuracy, **rest, "reason": replay.why}],
        "leakage": [{**copies, **rest, "reason": "A photograph that was trained on measures memory."}],
    }


def look_back(nights: list[Night], sessions: dict[str, str], params: EvaluateParams) -> list[Row]:
    """Every night with what its labels, all known now, say of its verdict."""
    rows = []
    for night in nights:
        harm = night.body["harm"]
        state = harm.get("states", {}).get("error/all")
        began = harm.get("harm", {}).get("began") or night.night
        since = [one for one in nights if began <= one.night <= night.night]
        rows.append(
            Row(
                night,
                sessions[night.night],
                error_over([night], params),
                error_over(since, params) if night.verdict == HARM else None,
                state["tolerated"] if state else None,
            )
        )
    return rows


def error_over(nights: list[Night], params: EvaluateParams) -> Finding:
    """The share of wrong answers over some nights, with its interval over people."""
    tables = [ScoredWindow(n.night, RUNS / NAME / "nights" / n.night).answers(n.body["model"]) for n in nights]
    table = pd.concat(tables, ignore_index=True)
    wrong = (table["label"] != table["predicted"]).to_numpy(float)
    return estimate_rate("error", "all", wrong, table, params)


def shares(error: Finding) -> str:
    """`7.5 % [2.6, 19.9]`."""
    return f"{100 * error.value:.1f} % [{100 * error.low:.1f}, {100 * error.high:.1f}]"


def expected(night: Night) -> str:
    """The error that the answers alone let one expect, by the method that the night's page shows first."""
    found = night.body["drift"].get("expected", [])
    return f"{100 * (1 - found[0]['accuracy']):.0f} %" if found else "-"


def in_all(rows: list[Row], params: EvaluateParams) -> str:
    """What all nights together say of the error, and how far the evidence came."""
    error, last = error_over([row.night for row in rows], params), rows[-1]
    tolerated = last.tolerated or 0.0
    place = "above what is tolerated for sure" if error.low > tolerated else "not above what is tolerated for sure"
    evidence = max(row.night.body["harm"].get("harm", {}).get("evidence", 0) for row in rows)
    needed = WATCHED["harm"]["average_run_length"]
    return (
        f"all nights together: an error of {shares(error)} on {error.n:,} photographs, {place}, "
        f"{100 * tolerated:.1f} %; the evidence for harm came to {evidence:,.1f} of {needed:,}"
    )


def line(row: Row) -> str:
    """A night as a row of Markdown."""
    drift = row.night.body["drift"].get("drift")
    cells = [
        row.night.night,
        row.session,
        f"{row.error.n}",
        shares(row.error),
        expected(row.night),
        f"{100 * row.tolerated:.1f} %" if row.tolerated is not None else "-",
        f"{drift['p']:.2g}" if drift else "-",
        f"{row.night.body['harm'].get('harm', {}).get('evidence', 0):,.1f}",
        row.night.verdict,
        "**no**" if row.fault else "late" if row.late else "yes",
    ]
    return f"| {' | '.join(cells)} |"


def play(replay: Replay, folder: Path, root: Path) -> list[str]:
    """Release, judge every night, print them with hindsight; the verdicts that were wrong."""
    sessions = write_replay(replay, folder, read_sessions(folder), root)
    with working_in(root):
        done = release(NAME)
        print(f"\n{replay.name}\n{done.sentence}")
        print("\n".join(f"  {sentence}" for sentence in done.criteria if "accuracy on test" in sentence))
        if done.verdict != PASS or done.version is None:
            return [f"{replay.name}: the release ended with {done.sentence}"]
        nights = nightly(NAME)
        params = load_section(EvaluateParams, Path("params.yaml"), {"min_clusters": LEAST_PEOPLE})
        rows = look_back(nights, sessions, params)
        summed = in_all(rows, params)
        actions = [e.body["action"] for e in Ledger(prepare_environment().ledger_url).read(NAME, INCIDENT)]
    print("\n| night | session | n | true error | expected | tolerated | drift p | evidence | verdict | right |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join([*map(line, rows), "", summed]))
    print("\n".join(f"done about harm: {action}" for action in actions))
    print(f"what no monitor could know: {replay.unknowable}", flush=True)
    return [f"{replay.name}, {row.night.night}: {row.fault}" for row in rows if row.fault]


def main() -> int:
    """Both replays; print the tables and every verdict that was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the photographs, with metadata.csv")
    asked, started = parser.parse_args(), time.perf_counter()
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="keel-signs-") as place, quiet_flows():
        for number, replay in enumerate(REPLAYS):
            found += play(replay, asked.folder.resolve(), Path(place, str(number)))
    for fault in found:
        print(f"WRONG {fault}")
    print(f"\n{len(found) or 'no'} wrong verdicts, {time.perf_counter() - started:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
