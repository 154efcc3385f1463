"""The frozen scores: against independent implementations, in simulations, and what their resamples mean."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

from tasks.transferability import (
    FOLDS,
    NEIGHBOURS,
    PENALTIES,
    half_samples,
    linear_probe,
    logme,
    mean_ranks,
    neighbours,
    places,
    rank_shares,
    resampled_logme,
)


def blobs(n: int, width: int, signal: float, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of `classes` clouds whose centres lie `signal` apart, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(n) % classes)
    centres = random.normal(size=(classes, width)) * signal
    return random.normal(size=(n, width)) + centres[labels], labels


def largest_evidence(features: np.ndarray, target: np.ndarray) -> float:
    """The evidence as the density of the targets under the marginal normal, maximised numerically over both scales."""
    kernel = features @ features.T

    def lost(logs: np.ndarray) -> float:
        covariance = kernel * np.exp(logs[0]) + np.eye(len(target)) * np.exp(logs[1])
        return -float(multivariate_normal.logpdf(target, np.zeros(len(target)), covariance, allow_singular=False))

    starts = [(a, b) for a in (-6.0, -2.0) for b in (-4.0, -1.0)]
    return -min(minimize(lost, start, method="Nelder-Mead", options={"xatol": 1e-6}).fun for start in starts)


@pytest.mark.parametrize(("n", "width", "signal"), [(40, 5, 1.0), (40, 5, 0.0), (30, 12, 0.5), (24, 40, 0.7)])
def test_logme_is_the_largest_evidence(n: int, width: int, signal: float) -> None:
    features, labels = blobs(n, width, signal)
    wanted = np.mean([largest_evidence(features, (labels == k).astype(float)) / n for k in range(3)])
    assert logme(features, labels) == pytest.approx(wanted, abs=2e-4)


def test_logme_rises_with_what_the_features_tell_of_the_labels() -> None:
    found = [np.mean([logme(*blobs(90, 8, signal, seed=s)) for s in range(5)]) for signal in (0.0, 0.3, 0.6, 1.0, 2.0)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.2


def test_logme_does_not_depend_on_the_scale_or_the_axes_of_the_features() -> None:
    features, labels = blobs(60, 6, 0.8)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert logme(features @ rotation * 40, labels) == pytest.approx(logme(features, labels), abs=1e-6)


@pytest.mark.parametrize("width", [6, 150])  # 150 is wider than there are images: the rotated path
def test_linear_probe_is_the_tuned_logistic_regression_of_scikit_learn(width: int) -> None:
    features, labels = blobs(90, width, 0.35)
    groups, asked = np.arange(90) // 6, blobs(200, width, 0.35, seed=0)[0]
    scaler = StandardScaler().fit(features)
    search = GridSearchCV(LogisticRegression(max_iter=5000, tol=1e-8), {"C": PENALTIES}, cv=GroupKFold(FOLDS))
    wanted = search.fit(scaler.transform(features), labels, groups=groups).predict(scaler.transform(asked))
    assert np.mean(linear_probe(features, labels, groups, asked)[0] == wanted) > 0.98


def test_linear_probe_without_enough_groups_still_reads() -> None:
    features, labels = blobs(60, 6, 2.0)
    (said,) = linear_probe(features, labels, np.zeros(60), features)
    assert np.mean(said == labels) > 0.9


def test_neighbours_vote_by_the_cosine_of_centred_features() -> None:
    features, labels = blobs(60, 6, 0.6)
    asked, _ = blobs(40, 6, 0.6, seed=1)
    (said,) = neighbours(features, labels, asked)
    known, wanted = features - features.mean(0), asked - features.mean(0)
    for vector, answer in zip(wanted, said, strict=True):
        cosine = known @ vector / np.linalg.norm(known, axis=1) / np.linalg.norm(vector)
        nearest = np.argsort(-cosine)[:NEIGHBOURS]
        votes = np.bincount(labels[nearest], weights=1 / (1 - cosine[nearest]), minlength=3)
        assert answer == votes.argmax()


def test_half_samples_keep_clusters_whole_and_vary_as_a_mean_over_all_does() -> None:
    codes = np.repeat(np.arange(40), 3)
    values = np.random.default_rng(0).normal(size=40)[codes]
    halves = list(half_samples(codes, 4000, seed=1))
    assert all(len(rows) == 60 and len(set(codes[rows])) == 20 for rows in halves[:50])
    spread = np.var([values[rows].mean() for rows in halves])
    assert spread == pytest.approx(np.var(values[::3], ddof=1) / 40, rel=0.06)  # 4,000 draws: about 2 % of noise


def test_resampled_logme_lies_around_its_value_and_repeats_by_seed() -> None:
    features, labels = blobs(90, 6, 0.8)
    found = resampled_logme(features, labels, np.arange(90), 50, seed=3)
    assert found.mean() == pytest.approx(logme(features, labels))
    assert 0 < found.std() < 0.1
    assert np.array_equal(found, resampled_logme(features, labels, np.arange(90), 50, seed=3))


def test_mean_ranks_average_over_scores_of_any_scale() -> None:
    scores = np.array([[0.9, 0.8, -3.0], [0.7, 0.9, -1.0], [0.7, 0.1, -9.0]])
    assert mean_ranks(scores).tolist() == pytest.approx([5 / 3, (2.5 + 1 + 1) / 3, (2.5 + 3 + 3) / 3])


def test_ties_go_to_the_better_first_score_then_to_the_entry_listed_first() -> None:
    assert places(np.array([[0.7, 0.9], [0.8, 0.8]])).tolist() == [1, 0]
    assert places(np.array([[0.7, 0.9], [0.7, 0.9], [0.9, 0.95]])).tolist() == [1, 2, 0]


def test_a_clearly_better_entry_is_always_first_and_equal_ones_share() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(1000, 3, 2))
    shares = rank_shares(noise + np.array([[[0.0], [0.0], [20.0]]]))
    assert shares[2].tolist() == [1, 0, 0]
    assert shares.sum(0) == pytest.approx(1)
    assert shares.sum(1) == pytest.approx(1)
    assert shares[0, 1] == pytest.approx(0.5, abs=0.08)  # a tie on mean rank goes by the first score, which is even too
