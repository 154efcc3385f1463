"""A candidate beside the champion: paired differences against other libraries, and how they are judged."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_1samp
from sklearn.metrics import f1_score, log_loss

from tasks.comparison import CHAMPION, FLIPS, KEPT, METRICS, PREDICTIONS, compare, write_comparison
from tasks.findings import Finding, index_findings, read_findings
from tasks.intervals import tango, wilson
from tasks.metrics import REGISTRY
from tasks.predictions import join_predictions
from tasks.verdict import FAIL, NOT_APPLICABLE, PASS, read_verdict
from tests.drawn_predictions import PARAMS, draw_cases, draw_manifest, draw_predictions
from tests.plan_documents import plan_document

MANIFEST = draw_manifest(test=400)
OURS, THEIRS = draw_predictions(MANIFEST, 2.5, 1), draw_predictions(MANIFEST, 1.5, 2)
GAIN = "accuracy_gain_over_champion"


def judged(predictions: pd.DataFrame) -> pd.DataFrame:
    return join_predictions(predictions, MANIFEST)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Finding]:
    return index_findings(compare(judged(OURS), judged(THEIRS), PARAMS))


def test_every_metric_is_known_and_on_each_slice(found: dict[tuple[str, str], Finding]) -> None:
    assert set(METRICS) <= set(REGISTRY)
    for metric in set(METRICS) - {KEPT}:
        assert {"test", "mirror", "mirror/condition=noise"} <= {name for m, name in found if m == metric}
    assert (FLIPS, "test/label=a") in found


def test_shares_are_tango_s_and_wilson_s(found: dict[tuple[str, str], Finding]) -> None:
    ours, theirs = (t[t["split"] == "test"] for t in (judged(OURS), judged(THEIRS)))
    right, before = (t["label"] == t["predicted"] for t in (ours, theirs))
    won, lost = int((right & ~before).sum()), int((before & ~right).sum())
    assert min(won, lost) > 5
    gain, flips = found[GAIN, "test"], found[FLIPS, "test"]
    assert (gain.low, gain.high) == pytest.approx(tango(won, lost, 400, 0.95))
    assert (flips.value, flips.n) == (lost / 400, 400)
    assert (flips.low, flips.high) == pytest.approx(wilson(lost, 400, 0.95))


def test_losses_are_sklearn_s_and_their_interval_student_s(found: dict[tuple[str, str], Finding]) -> None:
    ours, theirs = (t[t["split"] == "test"] for t in (judged(OURS), judged(THEIRS)))
    classes = ["a", "b", "c"]
    losses = [
        [log_loss([row.label], [[row.prob_a, row.prob_b, row.prob_c]], labels=classes) for row in t.itertuples()]
        for t in (ours, theirs)
    ]
    spared = found["nll_gain_over_champion", "test"]
    expected = ttest_1samp(np.subtract(losses[1], losses[0]), 0).confidence_interval(0.95)
    assert (spared.low, spared.high) == pytest.approx(tuple(expected))
    f1 = [f1_score(t["label"], t["predicted"], average="macro") for t in (ours, theirs)]
    gain = found["macro_f1_gain_over_champion", "test"]
    assert gain.value == pytest.approx(f1[0] - f1[1])
    assert gain.low < gain.value < gain.high


def test_two_that_answer_alike_are_not_shown_to_be_equal_by_few_images() -> None:
    few = judged(OURS).groupby("split").head(20)
    same = index_findings(compare(few, few, PARAMS))
    for metric in (GAIN, "macro_f1_gain_over_champion"):
        assert same[metric, "test"].value == 0
        assert same[metric, "test"].low < -0.1 < 0.1 < same[metric, "test"].high


def write(folder: Path, why_not: str | None, candidate: pd.DataFrame, bound: float = -0.05) -> Path:
    criterion = {"name": "g", "metric": GAIN, "slice": "test", "at_least": bound, "minimum_n": 50, "severity": "block"}
    flips = {"name": "f", "metric": FLIPS, "slice": "test", "at_most": 0.1, "minimum_n": 50, "severity": "block"}
    asked = [{**c, "reason": "r"} for c in (criterion, flips)]
    standard = [{**asked[0], "name": "accuracy", "metric": "accuracy", "at_least": 0.5}]
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan_document(*standard, champion=asked)))
    candidate.to_parquet(folder / "ours.parquet")
    MANIFEST.to_parquet(folder / "manifest.parquet")
    (folder / "champion").mkdir(exist_ok=True)
    about = {"version": "3", "model_digest": "d", "why_not": why_not}
    (folder / "champion" / CHAMPION).write_text(json.dumps(about))
    if why_not is None:
        THEIRS.to_parquet(folder / "champion" / PREDICTIONS)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    cases = draw_cases(OURS)
    cases.to_parquet(folder / "cases.parquet")
    cases.assign(predicted="c").to_parquet(folder / "champion/cases.parquet")
    files = (
        folder / "ours.parquet",
        folder / "cases.parquet",
        folder / "champion",
        folder / "manifest.parquet",
        folder / "plan.yaml",
    )
    write_comparison(*files, PARAMS, {}, out)
    return out


def test_the_section_champion_is_judged_and_a_worse_candidate_fails(tmp_path: Path) -> None:
    better = read_verdict(write(tmp_path, None, draw_predictions(MANIFEST, 4, 1)))
    assert (better.overall, [j.outcome for j in better.judgements]) == (PASS, [PASS, PASS])
    assert {"champion", "champion_predictions", "champion_cases", "comparison"} == set(better.digests)
    worse = read_verdict(write(tmp_path, None, draw_predictions(MANIFEST, 0.5, 5)))
    assert (worse.overall, [j.outcome for j in worse.judgements]) == (FAIL, [FAIL, FAIL])


def test_without_anybody_to_compare_with_the_criteria_do_not_apply_and_say_why(tmp_path: Path) -> None:
    out = write(tmp_path, "no other model is in use", OURS)
    verdict = read_verdict(out)
    assert read_findings(out) == []
    assert (verdict.overall, {j.outcome for j in verdict.judgements}) == (PASS, {NOT_APPLICABLE})
    assert all("no other model is in use" in j.sentence for j in verdict.judgements)
