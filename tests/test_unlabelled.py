"""Estimates without labels are the published ones, err no more than their bands say, and requests can be bet on."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from tasks.e_detector import log_bets
from tasks.errors import BadInput, EvidenceMissing
from tasks.unlabelled import (
    EXPLORED,
    LARGEST_WEIGHT,
    METHODS,
    Answers,
    confidences,
    estimate_accuracy,
    fit_threshold,
    negative_entropies,
    to_label,
)


def drawn(n: int, random: np.random.Generator, doubt: float = 0.1, per_unit: int = 1) -> tuple[Answers, np.ndarray]:
    """Calibrated answers of three classes, doubtful on average by `doubt`, and whether each is right."""
    wrong = np.repeat(random.beta(0.4, 0.4 * (1 - doubt) / doubt, n // per_unit), per_unit).clip(0, 0.6)
    told = np.stack([1 - wrong, wrong * 0.6, wrong * 0.4], axis=1)
    return Answers(told, np.arange(n) // per_unit), random.uniform(size=n) >= wrong


def test_scores_are_confidence_and_negative_entropy() -> None:
    told = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25]])
    assert confidences(told).tolist() == pytest.approx([1, 1 / 3, 0.5])
    assert negative_entropies(told) == pytest.approx([0, -math.log(3), -1.5 * math.log(2)])


@pytest.mark.parametrize("method", ["ATC on confidence", "ATC on negative entropy"])
def test_as_many_calibration_images_lie_below_atcs_threshold_as_are_wrong(method: str) -> None:
    random = np.random.default_rng(0)
    (answers, right), (window, _) = drawn(400, random), drawn(100, random, doubt=0.2)
    found, asked = METHODS[method].score(answers.probabilities), METHODS[method].score(window.probabilities)
    wrong = int((~right).sum())
    threshold = next(t for t in np.sort(found) if (found < t).sum() == wrong)  # by counting
    [estimate] = [e for e in estimate_accuracy(answers, right, window, 0.9, 20, 0) if e.method == method]
    assert estimate.value == pytest.approx((asked >= threshold).mean())
    assert fit_threshold(found, right, np.ones(400))(found).sum() == 400 - wrong


def test_weights_stand_for_repeated_images() -> None:
    answers, right = drawn(60, np.random.default_rng(1), doubt=0.3)
    weights = np.random.default_rng(2).integers(0, 4, 60)
    score, grid = confidences(answers.probabilities), np.linspace(0.3, 1, 200)
    for method in METHODS.values():
        repeated = method.fit(np.repeat(score, weights), np.repeat(right, weights), np.ones(weights.sum()))
        assert method.fit(score, right, weights.astype(float))(grid) == pytest.approx(repeated(grid))


def test_cbpe_is_the_mean_of_recalibrated_confidences() -> None:
    random = np.random.default_rng(3)
    (known, right), (window, _) = drawn(300, random), drawn(200, random, doubt=0.2)
    curve = IsotonicRegression(out_of_bounds="clip").fit(confidences(known.probabilities), right)
    expected = curve.predict(confidences(window.probabilities)).mean()
    [cbpe] = [e for e in estimate_accuracy(known, right, window, 0.9, 50, 0) if e.method == "CBPE"]
    assert cbpe.value == pytest.approx(expected)


@pytest.mark.parametrize("per_unit", [1, 2])
def test_bands_hold_what_the_labels_show_about_as_often_as_they_say(per_unit: int) -> None:
    random, sets, held = np.random.default_rng(4), 60, dict.fromkeys(METHODS, 0)
    for seed in range(sets):
        (known, right), (window, truth) = drawn(300, random, 0.15, per_unit), drawn(60, random, 0.15, per_unit)
        for estimate in estimate_accuracy(known, right, window, 0.9, 50, seed):
            held[estimate.method] += estimate.low <= truth.mean() <= estimate.high
            assert "fails under concept shift" in estimate.holds
    for method, count in held.items():
        assert count / sets >= 0.9 - 3 * math.sqrt(0.09 / sets), method


def test_bands_are_no_wider_than_they_must_be() -> None:
    random = np.random.default_rng(12)
    (known, right), (window, _) = drawn(3000, random), drawn(400, random)
    *_, cbpe = estimate_accuracy(known, right, window, 0.9, 300, 0)
    doubt = 1 - window.probabilities[:, 0]
    assert (cbpe.high - cbpe.low) / 2 == pytest.approx(1.645 * math.sqrt((doubt * (1 - doubt)).sum()) / 400, rel=0.3)


def test_harder_images_are_seen_and_harm_that_the_model_does_not_doubt_is_not() -> None:
    random = np.random.default_rng(5)
    (known, right), (hard, truth) = drawn(2000, random), drawn(2000, random, doubt=0.25)
    silent = drawn(2000, random)[0]  # answers look as before, whatever the truth is
    harder, unseen = (estimate_accuracy(known, right, window, 0.9, 30, 0) for window in (hard, silent))
    assert [e.value for e in unseen] == pytest.approx([right.mean()] * 3, abs=0.03)
    assert all(e.high < right.mean() for e in harder)
    [cbpe] = [e for e in harder if e.method == "CBPE"]  # ATC exaggerates a change of this kind
    assert cbpe.value == pytest.approx(truth.mean(), abs=0.05)


def test_estimates_depend_on_the_seed_alone() -> None:
    random = np.random.default_rng(6)
    (known, right), (window, _) = drawn(100, random), drawn(50, random)
    one, same, other = (estimate_accuracy(known, right, window, 0.9, 40, seed) for seed in (1, 1, 2))
    assert one == same
    assert [e.value for e in one] == [e.value for e in other]
    assert one != other


def test_what_is_missing_is_named() -> None:
    random = np.random.default_rng(7)
    (known, right), (window, _) = drawn(50, random), drawn(20, random)
    broken = Answers(window.probabilities.copy(), window.units)
    broken.probabilities[3, 0] = math.nan
    for calibration, correct, asked, says in (
        (known, right, broken, "the window: 1 of 20 answers"),
        (broken, right[:20], window, "the calibration images: 1 of 20"),
        (known, right, Answers(np.zeros((0, 3)), np.zeros(0)), "the window: 0 answers"),
        (known, np.ones(50), window, "50 calibration images 50 are right"),
        (known, np.where(np.arange(50) == 4, math.nan, right), window, "known as right or wrong"),
    ):
        with pytest.raises(EvidenceMissing, match=says):
            estimate_accuracy(calibration, correct, asked, 0.9, 10, 0)


def test_a_weighted_loss_has_the_mean_loss_of_the_images_left_as_its_mean() -> None:
    random, draws = np.random.default_rng(8), 1500
    answers, _ = drawn(60, random, doubt=0.2)
    known, loss = np.arange(60) < 10, (random.uniform(size=60) < 0.25).astype(float)
    places, gaps = random.normal(size=(60, 5)), np.zeros((draws, 12))
    for seed in range(draws):
        left = ~known
        for place, request in enumerate(to_label(answers.probabilities, places, known, 12, seed)):
            gaps[seed, place] = request.weight * loss[request.image] - loss[left].mean()
            left[request.image] = False
    error = gaps.std(axis=0) / math.sqrt(draws)
    assert (np.abs(gaps.mean(axis=0)) <= 3.5 * error).all()
    assert error.max() < 0.02


def test_bets_on_requests_gain_nothing_without_harm_and_bets_on_unweighted_ones_do() -> None:
    random, fair, naive = np.random.default_rng(9), [], []
    tolerated = float(1 - drawn(200_000, np.random.default_rng(0))[0].probabilities[:, 0].mean())
    for seed in range(1500):
        answers, right = drawn(60, random)
        requests = to_label(answers.probabilities, random.normal(size=(60, 8)), np.zeros(60, bool), 10, seed)
        loss = np.array([float(not right[r.image]) for r in requests])
        weights = np.array([r.weight for r in requests])
        fair.append(np.exp(log_bets(weights * loss, tolerated).sum(axis=0)))
        naive.append(np.exp(log_bets(loss, tolerated).sum(axis=0)))
    assert (np.mean(fair, axis=0) <= 1 + 3 * np.std(fair, axis=0) / math.sqrt(1500)).all()
    assert (np.mean(fair, axis=0) > 0.8).all()
    assert (np.mean(naive, axis=0) > 1 + 6 * np.std(naive, axis=0) / math.sqrt(1500)).all()


def test_requests_are_of_unknown_images_once_each_and_prefer_doubt_and_news() -> None:
    told = np.tile([0.98, 0.01, 0.01], (200, 1))
    told[:40] = [0.5, 0.3, 0.2]
    places = np.random.default_rng(10).normal(size=(200, 8))
    known = np.arange(200) >= 190
    requests = [to_label(told, places, known, 20, seed) for seed in range(40)]
    for one in requests:
        images = [r.image for r in one]
        assert len(set(images)) == 20
        assert max(images) < 190
        assert 0 < max(r.weight for r in one) <= 1 / EXPLORED
    assert np.mean([r.image < 40 for one in requests for r in one]) > 0.3  # 40 of 190 at random
    copies = np.where(np.arange(200)[:, None] < 100, 1.0, places)  # the first hundred are one image
    repeated = [sum(r.image < 100 for r in to_label(told, copies, known, 20, seed)) for seed in range(40)]
    spread = [sum(r.image < 100 for r in one) for one in requests]
    assert np.mean(repeated) < 0.75 * np.mean(spread)


def test_all_images_are_asked_for_when_there_are_fewer_and_mismatches_are_refused() -> None:
    answers, _ = drawn(10, np.random.default_rng(11))
    requests = to_label(answers.probabilities, np.ones((10, 2)), np.arange(10) < 4, 50, 0)
    assert sorted(r.image for r in requests) == list(range(4, 10))
    assert requests[-1].weight == pytest.approx(1)
    assert to_label(answers.probabilities, np.ones((10, 2)), np.ones(10, bool), 5, 0) == []
    with pytest.raises(BadInput, match="9 embeddings"):
        to_label(answers.probabilities, np.ones((9, 2)), np.zeros(10, bool), 5, 0)
    with pytest.raises(EvidenceMissing, match="embeddings hold values that are no numbers"):
        to_label(answers.probabilities, np.full((10, 2), math.nan), np.zeros(10, bool), 5, 0)


@pytest.mark.parametrize("copies", [20, 26, 38])
def test_near_copies_and_sure_answers_neither_stop_the_drawing_nor_exceed_the_largest_weight(copies: int) -> None:
    # Fails where rounding makes the distance of a copy negative, or a weight 2.0000000000000004.
    for seed in range(30):
        random, n = np.random.default_rng(seed), 50
        seen = np.abs(random.normal(size=(n, 512)))
        seen[:copies] = np.abs(random.normal(size=512)) * (1 + 2e-4 * random.normal(size=(copies, 512)))
        told = np.tile([1.0, 0.0, 0.0], (n, 1))
        told[: n // 2] = random.dirichlet([5, 0.5, 0.5], n // 2)
        asked = to_label(told, seen.astype(np.float16).astype(np.float32), np.zeros(n, bool), 10, seed)
        assert len(asked) == 10
        assert max(ask.weight for ask in asked) <= LARGEST_WEIGHT
