"""Krippendorff's alpha against published figures and against statsmodels' Fleiss kappa."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import fleiss_kappa

from tasks.agreement import krippendorff_alpha, ratings

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units, gaps.
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def alpha(counts: np.ndarray) -> float:
    return float(krippendorff_alpha(counts, np.ones((1, len(counts))))[0])


def test_the_published_example_with_missing_ratings() -> None:
    given = np.array([line.split() for line in PUBLISHED.strip().splitlines()]).T
    frame = pd.DataFrame(given, columns=[f"annotator_{c}" for c in "abcd"]).replace(".", "")
    assert alpha(ratings(frame.assign(label="1"))) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_with_all_ratings_there_it_is_fleiss_kappa_corrected_for_the_sample(seed: int) -> None:
    """Alpha's chance disagreement draws without putting back: 1 - alpha = (1 - kappa) (N - 1) / N for N ratings."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, 40)
    given = np.where(random.uniform(size=(40, 4)) < 0.7, truth[:, None], random.integers(0, 3, (40, 4)))
    counts = np.stack([(given == k).sum(axis=1) for k in range(3)], axis=1)
    assert 1 - alpha(counts) == pytest.approx((1 - fleiss_kappa(counts)) * 159 / 160)


def test_agreement_is_one_and_chance_is_nothing() -> None:
    random = np.random.default_rng(1)
    chance = np.stack([random.multinomial(2, [0.5, 0.3, 0.2]) for _ in range(4000)])
    assert alpha(2 * np.eye(3)[[0, 1, 2, 0]]) == 1
    assert abs(alpha(chance)) < 0.05
    assert np.isnan(alpha(2 * np.eye(3)[[1, 1, 1]]))


def test_weights_stand_for_repeated_images() -> None:
    counts = np.array([[2, 0], [1, 1], [0, 3], [1, 0]])
    weighted = krippendorff_alpha(counts, np.array([[2.0, 1.0, 0.0, 1.0], [1.0, 1.0, 3.0, 0.0]]))
    assert weighted == pytest.approx([alpha(counts[[0, 0, 1]]), alpha(counts[[0, 1, 2, 2, 2]])])
