"""Split-conformal sets: the quantile by hand, coverage against its theoretical distribution."""

import math

import numpy as np
import pytest
from drawn_predictions import CLASSES, PARAMS, draw_manifest, draw_predictions
from scipy.stats import beta, kstest

from tasks.errors import EvidenceMissing
from tasks.evaluators import conformal
from tasks.evaluators.conformal import conformal_quantile, prediction_sets, scores
from tasks.evidence import Evidence
from tasks.findings import index_findings
from tasks.metrics import Outcomes, outcomes_of
from tasks.predictions import join_predictions

MANIFEST = draw_manifest(test=200)
PREDICTIONS = draw_predictions(MANIFEST, 1, seed=1)
FOUND = index_findings(conformal.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS)))


@pytest.mark.parametrize(("n", "alpha", "place"), [(9, 0.1, 9), (19, 0.05, 19), (99, 0.1, 90), (100, 0.1, 91)])
def test_the_quantile_is_the_finite_samples(n: int, alpha: float, place: int) -> None:
    ranks = np.random.default_rng(1).permutation(n) + 1.0
    assert conformal_quantile(ranks, alpha) == place


def test_too_few_calibration_images_for_alpha_name_every_class() -> None:
    assert conformal_quantile(np.linspace(0, 1, 8), 0.1) == math.inf
    assert prediction_sets(Outcomes(np.zeros(1, int), np.zeros(1, int), np.array([[1.0, 0.0]])), math.inf).all()


def draw(random: np.random.Generator, n: int) -> Outcomes:
    """Three classes; scores without ties."""
    truth = random.integers(0, 3, n)
    raw = np.exp(random.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth])
    told = raw / raw.sum(axis=1, keepdims=True)
    return Outcomes(truth, told.argmax(axis=1), told)


@pytest.mark.parametrize(("n", "alpha"), [(50, 0.1), (129, 0.05)])
def test_coverage_over_calibration_draws_has_its_theoretical_beta_distribution(n: int, alpha: float) -> None:
    random = np.random.default_rng(2)
    fresh = np.sort(scores(draw(random, 400_000)))
    quantiles = [conformal_quantile(scores(draw(random, n)), alpha) for _ in range(600)]
    covered = np.searchsorted(fresh, quantiles, side="right") / len(fresh)
    left_out = math.floor((n + 1) * alpha + 1e-9)
    assert kstest(covered, beta(n + 1 - left_out, left_out).cdf).pvalue > 0.01
    assert covered.mean() >= 1 - alpha - 3 * covered.std() / math.sqrt(600)


def test_coverage_and_size_are_those_of_the_sets_on_each_slice_and_class() -> None:
    calibration = outcomes_of(join_predictions(PREDICTIONS, MANIFEST, ("calibration",)))
    quantile = conformal_quantile(scores(calibration), PARAMS.conformal_alpha)
    rows = join_predictions(PREDICTIONS, MANIFEST).query("split == 'test'")
    o = outcomes_of(rows)
    sets = 1 - o.probabilities <= quantile
    covered = sets[np.arange(len(rows)), o.truth]
    assert FOUND["conformal_coverage", "test"].value == pytest.approx(covered.mean())
    assert FOUND["conformal_coverage", "test/label=b"].value == pytest.approx(covered[o.truth == 1].mean())
    assert FOUND["mean_set_size", "test"].value == pytest.approx(sets.sum(axis=1).mean())
    assert {f"mirror/label={c}" for c in CLASSES} < {place for _, place in FOUND}
    assert all(f.low <= f.value <= f.high for f in FOUND.values())


def test_sets_that_are_all_of_one_size_are_no_certainty() -> None:
    sure = PREDICTIONS.assign(**{f"prob_{c}": (PREDICTIONS["predicted"] == c).astype(float) for c in CLASSES})
    right = sure[sure["predicted"] == sure["image_id"].map(MANIFEST.set_index("image_id")["label"])]
    manifest = MANIFEST[MANIFEST["image_id"].isin(right["image_id"])]
    finding = index_findings(conformal.evaluate(Evidence(right, manifest, PARAMS)))["mean_set_size", "test"]
    assert finding.low < finding.value == 1 < finding.high


def test_a_manifest_without_a_calibration_split_is_refused_by_name() -> None:
    manifest = MANIFEST[MANIFEST["split"] != "calibration"]
    predictions = PREDICTIONS[PREDICTIONS["image_id"].isin(manifest["image_id"])]
    with pytest.raises(EvidenceMissing, match="no image in calibration"):
        list(conformal.evaluate(Evidence(predictions, manifest, PARAMS)))
