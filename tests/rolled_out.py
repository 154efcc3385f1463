"""A project with a challenger that waits for its rollout: version 4, registered and accepted, beside champion 3."""

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.decision import version_tags
from tasks.logged_answer import LoggedAnswer
from tasks.predict import score
from tasks.register import register
from tasks.registry import Registry
from tasks.routing import CHALLENGER, CHAMPION, arm_of
from tests.accepted_versions import PROJECT, copy_project, decide, local, publish
from tests.small_model import write_guard, write_model
from tests.small_nights import write_watch

NOON = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
STEPS = [
    {"name": "shadow", "kind": "shadow", "share": 0, "nights": 3, "labels": 60},
    {"name": "canary-5", "kind": "canary", "share": 0.05, "nights": 1, "labels": 5},
    {"name": "canary-25", "kind": "canary", "share": 0.25, "nights": 1, "labels": 20},
]


def rules(**changes: Any) -> dict[str, Any]:
    """The section `rollout`, with guards that few requests satisfy."""
    guards = {
        "errors": {"increase": 0.05, "requests": 5, "reason": "for the test"},
        "abstentions": {"increase": 0.1, "requests": 5, "reason": "for the test"},
        "latency": {"ratio": 2.0, "requests": 5, "reason": "for the test"},
    }
    return {"steps": STEPS, "margin": 0.05, "error": 0.05, "guards": guards, "reason": "for the test"} | changes


def prepare_challenger(three_versions: Path, copy: Path) -> Path:
    """A copy of the project with rules of a rollout, and a fourth model registered."""
    root = copy_project(three_versions, copy)
    write_watch(root / "governance/watch.yaml", rollout=rules())
    (root / "governance/risks.yaml").write_text("risks: []\n")
    registry = Registry(PROJECT, local(root))
    with contextlib.chdir(root):
        wait(registry, root / "ground", 3)
    return root


def wait(registry: Registry, ground: Path, seed: int) -> str:
    """Accept the model of that seed and register it, as a release does whose rules have steps; the version."""
    tested = pd.read_parquet(ground / "split/manifest.parquet").query("split == 'test'").reset_index(drop=True)
    model, judged = write_model(ground / f"model{seed}", seed), ground / f"predictions{seed}"
    guard = write_guard(ground / f"guard{seed}", model)
    judged.mkdir()
    score(ground / "data", tested, model).to_parquet(judged / "predictions.parquet", index=False)
    decision = decide(registry, ground, seed, ground / "cases")
    places = (ground / "data", ground / "split", judged)
    version = register.fn(registry, model, guard, decision.body["run"], version_tags(decision), *places)
    publish(registry)
    return version


def night_of_answers(
    registry: Registry, day: dt.datetime, count: int, share: float, salt: str, wrong: float = 0.0, **failing: Any
) -> list[LoggedAnswer]:
    """What the service writes on a day: every request answered by its arm, and beside it by the other one in shadow.

    The truth is `cat` throughout; the champion says so, the challenger says `dog` for the first `wrong` of requests.
    As a canary the champion answers the challenger's requests too, off their path. `failing` is of the challenger's.
    """
    digests = {
        side: registry.version_tags(str(version))["model_digest"]
        for side, version in registry.aliases().items()
        if side in (CHAMPION, CHALLENGER)
    }
    rows = []
    for number in range(count):
        key, at = f"client-{number}", day + dt.timedelta(seconds=number)
        arm = arm_of(key, salt, share)
        sides = [CHAMPION, CHALLENGER] if arm == CHALLENGER or share == 0 else [CHAMPION]
        for side in sides:
            said = "dog" if side == CHALLENGER and number % 100 < 100 * wrong else "cat"
            known = {"predicted": said, "label": said, "latency_ms": 10.0} | (failing if side == CHALLENGER else {})
            rows.append(
                LoggedAnswer(
                    f"{day:%m%d}-{number}",
                    *(at, PROJECT, key, "0" * 64, True, {}),
                    arm=arm,
                    answered=side == arm,
                    model=digests[side],
                    **known,
                )
            )
    return rows
