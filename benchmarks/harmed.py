"""Two models of which the second is worse on new data: is it found, taken out of use by itself, and can one tell why?

    python -m benchmarks.harmed [--quick] [--pages FOLDER]

In a temporary checkout with its own registry and ledger, on the bundled digits, through the real flows: version 1 is
trained with noise among its augmentations, version 2 without, and both are released. The plan of this story compares a
candidate with the champion on clean test scans alone, so it cannot see what version 2 has lost; the bundled plan asks
about the other desk and its noise as well, and its risk register would hold both versions back until that was shown, so
both had to be cut for this story. Then the scanner's sensor wears out, and flows/nightly.py judges night after
night: five sound windows, then noise that grows. The drift is seen first, then the harm is proved, version 1 is proved
better on these very images, verified and put back, and an incident tells of it. Nights under version 1 follow, with
noise and without. Then a person puts version 2 back all the same, and the noise returns: version 1 is proved better
again, but a rollback of a rollback is a person's to make, and nothing moves until one makes it.

The counter-case starts from a copy of the checkout from before the nights: a scanner set to negative hurts both
versions alike. That is harm too, but no version is proved better, so nothing moves and the incident says why.

Each night's window is the bundled one of that day, under the fault that tasks/simulate.py makes. `--quick` trains
shorter and leaves out nights that only repeat others. The pages lie in FOLDER, `runs/harmed` without it. Exits 0 only
when every step came out as it must.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.checkouts import (
    HERE,
    PLAN,
    QUICK,
    change_params,
    quiet_flows,
    working_in,
    write_checkout,
    write_yaml,
)
from flows.common import PROJECTS, RUNS
from flows.nightly import nightly
from flows.release import release
from flows.rollback import rollback
from tasks.audit_trail import audit
from tasks.folders import PRODUCTION, read_window
from tasks.history import registrations
from tasks.history import why as why_live
from tasks.incident import INCIDENT, answer_of
from tasks.incident_page import write_incident
from tasks.night import HARM, HEALTHY, WATCH, Night
from tasks.night_tables import ScoredWindow
from tasks.plan import load_plan
from tasks.project import load_project
from tasks.registry import Registry
from tasks.risks import RISKS
from tasks.settings import prepare_environment
from tasks.simulate import simulate
from tasks.verdict import PASS

NAME = "digits"
WINDOWS = Path("windows")
NOISY = {"turn": 12, "shift": 0.08, "scale": 0.15, "noise": 0.25}  # of the bundled recipe, with the noise
PLAIN = {key: value for key, value in NOISY.items() if key != "noise"}
KEPT = {  # criteria of the bundled plan that this story's plan has as well: all of them on clean scans of desk A
    "standard": ("accuracy", "macro-f1", "recall-per-class"),
    "champion": ("no-worse-than-champion",),
    "calibration": ("calibration",),
    "fairness": ("strokes-alike",),
    "leakage": ("no-copies", "near-duplicates"),
}
UNASKED = ("robustness", "privacy", "latency", "interpretability", "external")
WHY_NOT = "Left out of this story, which is about what happens when a plan does not look where a model fails."
ELSEWHERE = "misread-elsewhere"  # the high risk that would hold back what was not shown to work at another desk
NEGATIVE = "white on dark"


@dataclass(frozen=True)
class Step:
    """One night: its day in June 2026, the fault of its window, and what must come of it.

    `verdicts` are those that are right; `champion` is who is in use after it, `says` what was done about harm.
    """

    day: int
    fault: str | None
    severity: int
    verdicts: tuple[str, ...]
    champion: str
    says: str = ""

    @property
    def night(self) -> dt.date:
        """The date."""
        return dt.date(2026, 6, self.day)

    @property
    def window(self) -> str:
        """The window in words."""
        return f"{self.fault}, severity {self.severity}" if self.fault else "sound"


SOUND = tuple(Step(day, None, 0, (HEALTHY,), "2") for day in range(1, 6))
WORN = (  # the sensor wears out, and version 1 comes back by itself
    Step(6, "noise", 2, (WATCH,), "2"),
    Step(7, "noise", 4, (HARM,), "1", "version 1 was put back"),
)
AFTER = (  # drift may be seen, but there is no harm
    Step(8, "noise", 3, (HEALTHY, WATCH), "1"),
    Step(9, "noise", 3, (HEALTHY, WATCH), "1"),
    Step(10, None, 0, (HEALTHY,), "1"),
    Step(11, None, 0, (HEALTHY,), "1"),
)
AGAIN = (
    Step(12, "noise", 4, (HARM,), "2", "no move: "),
    Step(13, "noise", 4, (HARM,), "2", "a rollback of a rollback is a person's to make"),
)
BOTH = (  # the counter-case
    Step(6, NEGATIVE, 5, (HARM,), "2", "no move: no accepted version"),
    Step(7, NEGATIVE, 5, (HARM, WATCH), "2"),
)


def write_story(root: Path) -> None:
    """The checkout: the digits, this story's plan, and knobs that make a release quick."""
    write_checkout(
        root, ("data", "backbones", f"runs/{NAME}"), (PRODUCTION, "nights", "served", "incidents", "evidently")
    )
    narrow_rules(root, KEPT)
    change_params(root, QUICK | {"shortlist": {"finalists": 1}})


def narrow_rules(root: Path, kept: Mapping[str, tuple[str, ...]]) -> None:
    """Leave the plan these criteria and no other section, and the register no risk of another desk."""
    plan = yaml.safe_load((root / PLAN).read_text(encoding="utf-8"))
    for section in UNASKED:
        plan[section] = {"none": WHY_NOT}
    for section, names in kept.items():
        plan[section] = [criterion for criterion in plan[section] if criterion["name"] in names]
    write_yaml(root / PLAN, plan)
    risks = yaml.safe_load((root / RISKS).read_text(encoding="utf-8"))
    write_yaml(root / RISKS, {"risks": [risk for risk in risks["risks"] if risk["id"] != ELSEWHERE]})


def train_with(root: Path, augmentation: dict[str, float], quick: bool) -> None:
    """The recipe of the release to come."""
    epochs = (4, 10) if quick else (6, 20)
    phases = [{"open": "head", "epochs": epochs[0], "rate": 1.0}, {"open": "all", "epochs": epochs[1], "rate": 0.5}]
    recipe = {"augmentation": augmentation, "phases": phases, "rates": [0.012], "scratch_rates": [0.02]}
    change_params(root, {"finetune": recipe})


def release_both(root: Path, quick: bool) -> list[str]:
    """Version 1 and version 2 through the real flow; what went wrong."""
    faults = []
    for version, augmentation in (("1", NOISY), ("2", PLAIN)):
        train_with(root, augmentation, quick)
        done = release(NAME)
        print(f"{' '.join(augmentation)}: {done.sentence}")
        for sentence in done.criteria:
            if "champion" in sentence or "accuracy on test:" in sentence:
                print(f"  {sentence}")
        if (done.verdict, done.version) != (PASS, version):
            faults.append(f"the release of version {version} ended with {done.verdict}, champion {done.version}")
    return faults


def write_window(step: Step, root: Path) -> None:
    """The bundled window of that day, under the step's fault."""
    source = HERE / "data" / PRODUCTION / step.night.isoformat()
    if step.fault is None:
        shutil.copytree(source, root / source.name)
        return
    listed = read_window(source)
    images = listed.assign(file=[str(source / path) for path in listed["path"]])
    simulate.fn(images, step.fault, step.severity, step.night, 1, len(images), 1.0, root)


def take(step: Step) -> tuple[Night, list[str]]:
    """Judge the night of the step, print its row, and say what is not as it must be."""
    write_window(step, WINDOWS)
    night = nightly(NAME, date=step.night.isoformat(), windows=str(WINDOWS.absolute()))[0]
    registry = Registry(NAME, prepare_environment())
    done = answer_of(registry.ledger.read(NAME), night.night)
    action = done.body["action"] if done else ""
    faults = list(wrong(step, night, registry.aliases()["champion"], action))
    errors = " | ".join(error_of(registry, night, version) for version in ("1", "2"))
    right = "**no**" if faults else "yes"
    row = (night.night, step.window, night.verdict, f"v{night.body['version']}", errors, action or "-", right)
    print(f"| {' | '.join(row)} |", flush=True)
    return night, faults


def wrong(step: Step, night: Night, champion: str | None, action: str) -> Iterator[str]:
    """What did not come out as the step says."""
    if night.verdict not in step.verdicts:
        yield f"{night.night} ended with {night.verdict}, expected {' or '.join(step.verdicts)}: {night.sentence}"
    if champion != step.champion:
        yield f"after {night.night} version {champion} is champion, expected {step.champion}"
    if step.says not in action:
        yield f"what was done on {night.night} does not say '{step.says}'; it says: {action or 'nothing was done'}"
    if not step.says and action and HARM not in step.verdicts:
        yield f"on {night.night} nothing was to be done about harm, and it says: {action}"


def error_of(registry: Registry, night: Night, version: str) -> str:
    """A version's share of wrong answers to the night's labelled images."""
    digest = registrations(registry.ledger.read(NAME))[version][0].body["model_digest"]
    answers = ScoredWindow(night.night, RUNS / NAME / "nights" / night.night).answers(digest)
    answers = answers[answers["label"] != ""]
    return f"{100 * (answers['label'] != answers['predicted']).mean():.0f} %"


def by_person(version: str, why: str) -> list[str]:
    """A person's rollback, as `keel rollback` does it."""
    done = rollback(NAME, version, why)
    champion = Registry(NAME, prepare_environment()).aliases()["champion"]
    happened = champion == version and done.body["by_a_person"]
    right = "yes" if happened else "**no**"
    print(f"| | a person: {why} | | v{done.body['left']} | | | version {champion} was put back, by hand | {right} |")
    return [] if happened else [f"the rollback to {version} by a person did not happen"]


def told(live: str) -> list[str]:
    """What `keel audit` and `keel why` say in the end: no fault, and the version that is in use."""
    chosen = prepare_environment()
    registry = Registry(NAME, chosen)
    checks = list(audit(registry))
    faults = [f"keel audit: {name}: {sentence}" for name, at_fault, sentence in checks if at_fault]
    now = dt.datetime.now(dt.UTC)
    said = why_live(NAME, registry.ledger.sound(NAME), now.isoformat(), now)
    print(f"\nkeel audit: {len(checks)} checks, {len(faults) or 'no'} faults\nkeel why now:\n{said}")
    right = f"version {live} of" in said and "is live now" in said
    return faults + ([] if right else [f"keel why does not say that version {live} is live"])


def keep_pages(place: Path) -> None:
    """The pages of the nights and of every incident, copied to `place`."""
    registry, about = Registry(NAME, prepare_environment()), load_project(PROJECTS / f"{NAME}.yaml")
    entries, owner = registry.ledger.sound(NAME), load_plan(about.plan).owner
    for file in sorted((RUNS / NAME / "nights").rglob("*.html")):
        kept = place / file.relative_to(RUNS / NAME)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept)
    for incident in (entry for entry in entries if entry.kind == INCIDENT):
        write_incident(NAME, entries, str(incident.number), owner, place / "incidents")


def worn_sensor(quick: bool) -> list[str]:
    """The story: found, put back, judged on; a person's word; an automatic move refused; records that agree."""
    faults = [fault for step in (*SOUND, *WORN, *(AFTER[::2] if quick else AFTER)) for fault in take(step)[1]]
    faults += by_person("2", "the sensor was replaced, so the newer model may go on")
    faults += [fault for step in AGAIN for fault in take(step)[1]]
    faults += by_person("1", "the replacement is as noisy")
    return faults + told("1")


def both_hurt(quick: bool) -> list[str]:
    """The counter-case."""
    return [fault for step in (*SOUND, *(BOTH[:1] if quick else BOTH)) for fault in take(step)[1]] + told("2")


def play(title: str, story: Callable[[bool], list[str]], root: Path, pages: Path, quick: bool) -> list[str]:
    """A story in its checkout, with its table and its pages."""
    print(f"\n{title}\n\n| night | window | verdict | champion | error of v1 | of v2 | done | right |")
    print("|---|---|---|---|---|---|---|---|")
    with working_in(root):
        faults = story(quick)
        keep_pages(pages)
    return [f"{title}: {fault}" for fault in faults]


def main() -> int:
    """Release both versions, play the two stories, print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer epochs, fewer nights")
    parser.add_argument("--pages", type=Path, default=HERE / RUNS / "harmed", help="where the pages are kept")
    asked = parser.parse_args()
    started, pages = time.perf_counter(), asked.pages.resolve()
    shutil.rmtree(pages, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="keel-harmed-") as folder, quiet_flows():
        worn, negative = Path(folder, "worn"), Path(folder, "negative")
        write_story(worn)
        with working_in(worn):
            faults = release_both(worn, asked.quick)
        if not faults:
            shutil.copytree(worn, negative)
            faults += play("A sensor that wears out", worn_sensor, worn, pages / "worn", asked.quick)
            faults += play("A scanner set to negative", both_hurt, negative, pages / "negative", asked.quick)
    for fault in faults:
        print(f"FAIL {fault}")
    print(f"\n{time.perf_counter() - started:.0f} s; the pages lie in {pages}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
