"""Planted copies are found among look-alikes, and look-alikes alone are left alone: the p values keep what they say."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kstest

from tasks.near_duplicates import LEAST, chances, cosine_distances, nearest, tail_chances


def rows(seed: int, groups: int, start: int = 0, classes: int = 4, each: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    """`groups` subjects, each with `each` images of one class, close together; classes are clouds of look-alikes."""
    centres = np.random.default_rng(99).normal(size=(classes, 8)) * 2
    random = np.random.default_rng(seed)
    labels = np.arange(groups) % classes
    subjects = centres[labels] + random.normal(size=(groups, 8))
    features = np.repeat(subjects, each, axis=0) + 0.3 * random.normal(size=(groups * each, 8))
    frame = pd.DataFrame({"label": np.repeat(labels, each), "group": np.repeat(np.arange(start, start + groups), each)})
    return frame, features


def p_values(train: tuple[pd.DataFrame, np.ndarray], test: tuple[pd.DataFrame, np.ndarray]) -> np.ndarray:
    null = nearest(train[1], train[1], train[0], train[0], cosine_distances)
    found = nearest(test[1], train[1], test[0], train[0], cosine_distances)
    return chances(null, train[0]["label"].to_numpy(), found, test[0]["label"].to_numpy())


def copies(train: np.ndarray, test: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Test with its first `count` images replaced by training images of the same class, a little noise upon them."""
    random = np.random.default_rng(seed)
    for place in range(count):
        of = random.choice(np.flatnonzero(labels[0] == labels[1][place]))
        test[place] = train[of] + 0.01 * random.normal(size=train.shape[1])
    return test


def test_planted_copies_are_found_and_few_of_the_found_are_not_copies() -> None:
    found, false = 0, []
    for seed in range(20):
        train, (frame, features) = rows(seed, 100), rows(1000 + seed, 100, start=500)
        labels = np.array([train[0]["label"], frame["label"]])
        q = false_discovery_control(p_values(train, (frame, copies(train[1], features, labels, 15, seed))))
        found += int((q[:15] <= 0.05).sum())
        false.append((q[15:] <= 0.05).sum() / max(1, (q <= 0.05).sum()))
    assert found >= 0.97 * 20 * 15
    assert np.mean(false) <= 0.05 + 3 * np.std(false) / np.sqrt(20)


def test_look_alikes_alone_are_seldom_taken_for_copies() -> None:
    """Every discovery is false here, so the false discovery rate is the share of data sets with any."""
    sets = [p_values(rows(seed, 100), rows(1000 + seed, 100, start=500)) for seed in range(60)]
    assert np.mean([(false_discovery_control(p) <= 0.05).any() for p in sets]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_bursts_of_one_subject_within_train_do_not_hide_copies() -> None:
    """A null that looked at the same subject would take a burst's small distances for those of look-alikes."""
    train, (frame, features) = rows(1, 40, each=8), rows(2, 40, start=500, each=8)
    labels = np.array([train[0]["label"], frame["label"]])
    q = false_discovery_control(p_values(train, (frame, copies(train[1], features, labels, 5, seed=3))))
    assert (q[:5] <= 0.05).all()


def test_copies_within_train_do_not_widen_the_null() -> None:
    (frame, features), (others, asked) = rows(1, 300, each=1), rows(2, 300, start=500, each=1)
    features[:3] = features[[8, 9, 10]] + 0.003  # other subjects, the same picture
    labels = np.array([frame["label"], others["label"]])
    asked = copies(features, asked, labels, 8, seed=3)
    q = false_discovery_control(p_values((frame, features), (others, asked)))
    assert (q[:8] <= 0.05).all()


@pytest.mark.parametrize("n", [60, 400])
def test_chances_are_exact_where_distances_follow_a_power_law(n: int) -> None:
    """F(d) = d^3 near 0. Uniform p values deep into the tail, for a null of any size."""
    p = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        p += list(tail_chances(random.uniform(size=n) ** (1 / 3), random.uniform(size=5) ** (1 / 3)))
    assert kstest(p, "uniform").pvalue > 0.001
    for level in (0.05, 0.01):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level / len(p)))


def test_more_candidates_make_a_near_one_less_telling() -> None:
    train, test = rows(1, 60), rows(2, 20, start=500)
    found = nearest(test[1], train[1], test[0], train[0], cosine_distances)
    null = nearest(train[1], train[1], train[0], train[0], cosine_distances)
    labels = train[0]["label"].to_numpy(), test[0]["label"].to_numpy()
    p = chances(null, labels[0], found, labels[1])
    found.candidates[:] *= 4
    assert chances(null, labels[0], found, labels[1]) == pytest.approx(np.minimum(1, 4 * p), rel=0.1)


def test_nearest_is_the_nearest_of_the_class_and_of_another_group() -> None:
    frame = pd.DataFrame({"label": list("aaab"), "group": list("pqrs")})
    known = np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [1.0, 0.0]])
    asked = pd.DataFrame({"label": ["a", "a", "b", "c"], "group": ["p", "t", "t", "t"]})
    found = nearest(np.array([[1.0, 0.0]] * 4), known, asked, frame, cosine_distances)
    assert found.place.tolist() == [1, 0, 3, -1]
    assert found.candidates.tolist() == [2, 3, 1, 0]
    assert found.distance[1] == 0
    assert np.isinf(found.distance[3])


def test_too_few_training_images_can_tell_nothing() -> None:
    train, test = rows(1, LEAST - 1, each=1), rows(2, 8, start=500)
    assert np.isnan(p_values(train, test)).all()
