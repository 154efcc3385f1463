"""The reference model's probabilities are out of fold: no image, and none of its group, teaches its own answer."""

import numpy as np
import pytest

from tasks.reference import WIDEST, out_of_fold


def clouds(seed: int, n: int, signal: float, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    return random.normal(size=(n, width)) + signal * np.eye(3, width)[truth], truth


def test_it_reads_what_can_be_read_and_says_nothing_of_noise() -> None:
    sure, truth = clouds(1, 150, signal=3)
    told = out_of_fold(sure, truth, np.arange(150), 3, folds=5, seed=1)
    assert told.sum(axis=1) == pytest.approx(np.ones(150))
    assert (told.argmax(axis=1) == truth).mean() > 0.9
    noise = out_of_fold(clouds(2, 150, signal=0)[0], truth, np.arange(150), 3, folds=5, seed=1)
    assert abs((noise.argmax(axis=1) == truth).mean() - 1 / 3) < 0.12


def test_what_only_a_group_shows_is_not_learnt() -> None:
    """Each group has a label of its own and a mark of its own: within folds that split groups, all would be read."""
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 6)
    truth, marks = random.integers(0, 2, 30)[groups], random.normal(size=(30, 60))[groups]
    features = marks + 0.1 * random.normal(size=(180, 60))
    apart = out_of_fold(features, truth, groups, 2, folds=5, seed=1)
    torn = out_of_fold(features, truth, np.arange(180), 2, folds=5, seed=1)
    assert (torn.argmax(axis=1) == truth).mean() > 0.95
    assert (apart.argmax(axis=1) == truth).mean() < 0.75


def test_the_same_seed_gives_the_same_bytes_and_few_groups_are_folded_by_images() -> None:
    features, truth = clouds(4, 60, signal=1)
    one, other = (out_of_fold(features, truth, np.zeros(60), 3, folds=5, seed=7) for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert np.isfinite(np.log(one)).all()


def test_a_class_that_a_fold_lacks_is_improbable_and_not_impossible() -> None:
    features, truth = clouds(5, 40, signal=2)
    truth[:39] = truth[:39] % 2
    truth[39] = 2
    told = out_of_fold(features, truth, np.arange(40), 3, folds=4, seed=1)
    assert 0 < told[39, 2] < 1e-5


def test_wide_features_are_narrowed() -> None:
    features, truth = clouds(6, 400, signal=4, width=WIDEST + 20)
    told = out_of_fold(features, truth, np.arange(400), 3, folds=3, seed=1)
    assert (told.argmax(axis=1) == truth).mean() > 0.8
