"""Confident learning: the paper's formulas on a worked example, planted errors found, intervals that hold."""

import numpy as np
import pytest

from tasks.confident_learning import confident_joint, error_share, joint_distribution, suspects
from tasks.resampling import Clusters

# Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.8 + 0.6) / 2 = 0.7.
LABELS = np.array([0, 0, 0, 1, 1])
TOLD = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6]])


def alone(n: int) -> Clusters:
    return Clusters(np.arange(n), n, "images")


def noisy(seed: int, n: int, share: float, skill: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Given labels of three classes, a share of them wrong, a model's probabilities, and which labels are wrong."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n)
    wrong = random.uniform(size=n) < share
    given = np.where(wrong, (truth + random.integers(1, 3, n)) % 3, truth)
    scores = random.normal(size=(n, 3)) + skill * np.eye(3)[truth]
    return given, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), wrong


def test_the_confident_joint_of_a_worked_example() -> None:
    """Images 0 and 1 reach class 0, image 2 class 1 against its label, image 3 class 1; image 4 reaches nothing."""
    assert confident_joint(LABELS, TOLD).tolist() == [[2, 1], [0, 1]]


def test_the_joint_distribution_is_the_counts_brought_to_the_sizes_of_the_classes() -> None:
    """Equation 3: row 0 is (2, 1) / 3 of 3 images in 5, row 1 is (0, 1) of 2 in 5."""
    assert joint_distribution(LABELS, TOLD) == pytest.approx(np.array([[0.4, 0.2], [0.0, 0.4]]))
    assert error_share(LABELS, TOLD, alone(5), 0.95)[0] == pytest.approx(0.2)


def test_an_image_that_reaches_two_classes_counts_as_the_more_probable() -> None:
    told = np.array([[0.45, 0.55], [0.5, 0.5], [0.6, 0.4], [0.6, 0.4]])
    assert confident_joint(np.array([0, 0, 1, 1]), told).tolist() == [[1, 1], [2, 0]]


def test_the_joint_is_the_papers_loop_over_images() -> None:
    """Section 3.1, equations 1 and 2, one image at a time."""
    given, told, _ = noisy(1, 200, 0.2, skill=1.5)
    thresholds = [told[given == j, j].mean() for j in range(3)]
    wanted = np.zeros((3, 3), dtype=int)
    for i, p in zip(given, told, strict=True):
        reached = [j for j in range(3) if p[j] >= thresholds[j]]
        if reached:
            wanted[i, max(reached, key=lambda j: p[j])] += 1
    assert confident_joint(given, told).tolist() == wanted.tolist()


def test_planted_errors_are_found_with_what_they_should_be() -> None:
    given, told, wrong = noisy(2, 600, 0.1)
    found = suspects(given, told)
    images = [image for image, _ in found]
    assert len(set(images)) == len(images)
    assert np.mean(wrong[images]) > 0.85
    assert wrong[images].sum() / wrong.sum() > 0.85
    assert all(other == told[image].argmax() != given[image] for image, other in found)
    likelihood = [told[image, given[image]] for image in images]
    assert likelihood == sorted(likelihood)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_estimate_is_the_share_that_was_planted(share: float) -> None:
    given, told, _ = noisy(3, 1500, share, skill=6.0)
    value, ends = error_share(given, told, alone(1500), 0.95)
    assert value == pytest.approx(share, abs=0.02)
    assert ends.low <= value <= ends.high < share + 0.05


def test_the_interval_is_about_that_of_the_whole_bootstrap() -> None:
    given, told, _ = noisy(4, 400, 0.1)
    value, ends = error_share(given, told, alone(400), 0.95)
    random, drawn = np.random.default_rng(0), []
    for _ in range(500):
        rows = random.integers(0, 400, 400)
        drawn.append(1 - np.trace(joint_distribution(given[rows], told[rows])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert ends.high - ends.low == pytest.approx(high - low, rel=0.2)
    assert ends.low == pytest.approx(low, abs=0.015)
    assert value <= ends.high


def test_repeated_images_of_a_scan_widen_the_interval() -> None:
    given, told, _ = noisy(5, 100, 0.1)
    codes = np.repeat(np.arange(100), 4)
    many = error_share(given[codes], told[codes], alone(400), 0.95)[1]
    few = error_share(given[codes], told[codes], Clusters(codes, 100, "units"), 0.95)[1]
    assert few.high - few.low > 1.6 * (many.high - many.low)


def test_a_class_that_nothing_reaches_is_taken_for_rightly_labelled() -> None:
    told = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.8, 0.2]])
    joint = joint_distribution(np.array([0, 0, 0, 0]), told)
    assert joint == pytest.approx(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert suspects(np.array([0, 0, 0, 0]), told) == []
