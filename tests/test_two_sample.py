"""The two-sample tests compute what they say, are exact without a shift, and respect units."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import chi2_contingency, energy_distance, ks_2samp, kstest, permutation_test

from tasks.errors import EvidenceMissing
from tasks.samples import Sample, distances, lay_together
from tasks.shift_statistics import NAMES, Statistics, whiten
from tasks.two_sample import adjusted_p_values, compare_samples, draw_labels, p_values
from tests.drawn_samples import drawn

ENERGY, WHITENED, KERNEL, RANKS, CLASSES = range(5)


def observed(reference: Sample, current: Sample, largest: int = 1000) -> np.ndarray:
    pool = lay_together(reference, current, largest, np.random.default_rng(0))
    return Statistics(pool).of(pool.current[None])[0]


def one_column(values: np.ndarray) -> Sample:
    """Embeddings of one feature, and probabilities of two classes that follow it."""
    told = 1 / (1 + np.exp(-values))
    return Sample(np.stack([told, 1 - told], axis=1), values[:, None])


def test_energy_of_one_feature_is_the_square_of_scipys() -> None:
    random = np.random.default_rng(1)
    one, other = random.normal(size=70), random.normal(0.5, 2, size=30)
    found = observed(one_column(one), one_column(other))[ENERGY]
    assert found == pytest.approx(energy_distance(one, other) ** 2, rel=1e-4)


def test_kernel_distance_is_its_definition() -> None:
    random = np.random.default_rng(2)
    one, other = drawn(40, random), drawn(25, random, 1.0)
    pooled = np.vstack([one.embeddings, other.embeddings])
    apart = cdist(pooled, pooled)
    kernel = np.exp(-(apart**2) / (2 * np.median(apart[np.triu_indices(65, 1)]) ** 2))
    mmd = kernel[:40, :40].mean() + kernel[40:, 40:].mean() - 2 * kernel[:40, 40:].mean()
    assert observed(one, other)[KERNEL] == pytest.approx(mmd, rel=1e-3)


def test_whitened_energy_is_the_same_in_any_units_of_the_features() -> None:
    random = np.random.default_rng(3)
    one, other = drawn(60, random), drawn(50, random, 0.2)
    turn = np.linalg.qr(random.normal(size=(8, 8)))[0]
    turned = [Sample(s.probabilities, 7 * s.embeddings @ turn + 3) for s in (one, other)]
    assert observed(*turned)[WHITENED] == pytest.approx(observed(one, other)[WHITENED], rel=1e-3)
    covariance = np.cov(whiten(np.vstack([one.embeddings, other.embeddings])).T, bias=True)
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert 0.75 < np.diag(covariance).min() <= np.diag(covariance).max() <= 1


def test_whitening_more_features_than_images_keeps_the_widest_directions() -> None:
    random = np.random.default_rng(4)
    wide = random.normal(size=(40, 100)) * np.geomspace(10, 0.1, 100)
    centred = wide - wide.mean(axis=0)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :10]
    found = whiten(wide)
    assert found.shape == (40, 10)
    assert np.allclose(np.abs(left.T @ found).sum(axis=0), np.linalg.norm(found, axis=0))


def test_ranks_are_the_largest_of_scipys_ks_distances() -> None:
    random = np.random.default_rng(5)
    one, other = drawn(30, random), drawn(25, random, 1.0)  # fewer images than cut points: no step is passed over
    told = [np.column_stack([s.probabilities, s.probabilities.max(axis=1)]) for s in (one, other)]
    largest = max(ks_2samp(told[0][:, k], told[1][:, k]).statistic for k in range(5))
    assert observed(one, other)[RANKS] == pytest.approx(largest, rel=1e-5)


def test_classes_are_scipys_chi_square() -> None:
    random = np.random.default_rng(6)
    one, other = drawn(80, random), drawn(60, random)
    table = [np.bincount(s.probabilities.argmax(axis=1), minlength=4) for s in (one, other)]
    expected = chi2_contingency(np.array(table), correction=False).statistic
    assert observed(one, other)[CLASSES] == pytest.approx(expected, rel=1e-4)


def test_p_value_is_scipys_permutation_test() -> None:
    random = np.random.default_rng(7)
    one, other = random.normal(size=40), random.normal(0.6, 1, size=20)
    theirs = permutation_test(
        (one, other), lambda a, b: energy_distance(a, b) ** 2, n_resamples=800, alternative="greater", rng=random
    ).pvalue
    ours = compare_samples(one_column(one), one_column(other), 3999, 1000, random).tests[ENERGY]
    assert ours.name == NAMES[ENERGY]
    assert ours.p == pytest.approx(theirs, abs=4 * np.sqrt(theirs / 800))
    assert (ours.n_reference, ours.n_current) == (40, 20)


def test_p_value_is_never_zero_and_counts_ties() -> None:
    assert p_values(np.array([[9.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])).tolist() == [0.25, 1.0]


def test_smallest_adjusted_p_value_is_uniform_without_a_shift() -> None:
    random = np.random.default_rng(8)
    found = [compare_samples(drawn(40, random), drawn(15, random), 99, 1000, random).p for _ in range(300)]
    assert kstest(np.array(found) - random.uniform(0, 0.01, 300), "uniform").pvalue > 0.001
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_adjustment_for_copies_of_one_test_costs_nothing_and_for_independent_ones_what_holm_costs() -> None:
    random = np.random.default_rng(9)
    values = random.normal(size=(20_000, 3)) ** 2
    values[0] = np.quantile(values[1:], [0.99, 0.5, 0.2], axis=0).diagonal()
    alone = p_values(values)
    assert adjusted_p_values(values[:, [0, 0, 0]]) == pytest.approx(alone[[0, 0, 0]], abs=1e-9)
    assert adjusted_p_values(values)[0] == pytest.approx(1 - (1 - alone[0]) ** 3, rel=0.1)
    assert np.all(np.diff(adjusted_p_values(values)) > 0)


def test_each_test_finds_what_it_is_for() -> None:
    random = np.random.default_rng(10)
    narrow = compare_samples(drawn(300, random), drawn(100, random, 0.3), 399, 1000, random)
    assert narrow.adjusted[WHITENED] <= 0.01 < narrow.tests[ENERGY].p  # a move along the narrowest direction
    current = drawn(100, random)
    flat = Sample(current.probabilities / 2 + 0.125, current.embeddings)
    unsure = compare_samples(drawn(300, random), flat, 399, 1000, random)
    assert unsure.adjusted[RANKS] <= 0.01 < min(unsure.tests[ENERGY].p, unsure.tests[CLASSES].p)
    one_class = drawn(400, random)
    mostly = one_class.take(np.flatnonzero(one_class.probabilities.argmax(axis=1) == 0))
    shifted = compare_samples(drawn(300, random), mostly, 399, 1000, random)
    assert shifted.adjusted[CLASSES] <= 0.01
    assert shifted.tests[CLASSES].effect == pytest.approx(0.6, abs=0.1)  # class 0 has about 40 % of all


def test_effects_are_none_without_a_shift_and_whole_for_samples_far_apart() -> None:
    random = np.random.default_rng(11)
    none = compare_samples(drawn(400, random), drawn(400, random), 199, 1000, random)
    assert max(test.effect for test in none.tests) < 0.1
    far = compare_samples(drawn(100, random), drawn(100, random, 1000.0), 199, 1000, random)
    assert far.tests[ENERGY].effect > 0.9


def in_units(n: int, copies: int, random: np.random.Generator, first: int) -> Sample:
    """Each drawn image `copies` times, as images of one unit."""
    one = drawn(n, random)
    repeated = one.take(np.repeat(np.arange(n), copies))
    return Sample(repeated.probabilities, repeated.embeddings, first + np.repeat(np.arange(n), copies))


def test_images_of_a_unit_are_permuted_together() -> None:
    random = np.random.default_rng(12)
    draws = [(in_units(30, 4, random, 0), in_units(15, 4, random, 100)) for _ in range(100)]
    whole = [compare_samples(one, other, 99, 1000, random).p <= 0.05 for one, other in draws]
    apart = [
        compare_samples(*(Sample(s.probabilities, s.embeddings) for s in pair), 99, 1000, random).p <= 0.05
        for pair in draws
    ]
    assert np.mean(whole) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100) < np.mean(apart)


def test_units_of_equal_size_give_the_statistics_of_their_images() -> None:
    random = np.random.default_rng(13)
    one, other = in_units(30, 3, random, 0), in_units(10, 3, random, 100)
    apart = [Sample(s.probabilities, s.embeddings) for s in (one, other)]
    assert observed(one, other) == pytest.approx(observed(*apart), rel=1e-3)


def test_large_samples_are_dealt_into_blocks_that_ranks_read_whole() -> None:
    random = np.random.default_rng(14)
    pool = lay_together(drawn(1000, random), drawn(700, random), 100, random)
    assert pool.counts == (700, 700)
    assert pool.distances_read == (100, 100)
    assert set(pool.sizes) == {7}
    assert len(set(pool.images)) == 1400
    assert Statistics(pool).of(draw_labels(pool.current, 3, random)).shape == (3, 5)


def test_test_of_blocks_is_exact_too() -> None:
    random = np.random.default_rng(15)
    found = [compare_samples(drawn(120, random), drawn(90, random), 99, 30, random).p for _ in range(200)]
    assert kstest(np.array(found) - random.uniform(0, 0.01, 200), "uniform").pvalue > 0.001


def test_same_generator_gives_the_same_answer() -> None:
    one, other = drawn(50, np.random.default_rng(1)), drawn(20, np.random.default_rng(2))
    twice = [compare_samples(one, other, 99, 1000, np.random.default_rng(3)) for _ in range(2)]
    assert twice[0] == twice[1]


def test_distances_are_scipys() -> None:
    random = np.random.default_rng(16)
    one, other = random.normal(5, 1, (20, 7)), random.normal(5, 1, (30, 7))
    assert np.allclose(distances(one, other), cdist(one, other))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: Sample(np.where(np.arange(4) == 1, np.nan, s.probabilities), s.embeddings), "finite number"),
        (lambda s: Sample(s.probabilities, np.where(np.arange(8) == 1, np.inf, s.embeddings)), "finite number"),
        (lambda s: Sample(2 * s.probabilities, s.embeddings), "add up to 1"),
        (lambda s: Sample(s.probabilities[:5], s.embeddings), "one row for each image"),
        (lambda s: Sample(s.probabilities, s.embeddings[:, :3]), "one model"),
        (lambda s: Sample(s.probabilities, s.embeddings, np.arange(20)), "units to both or neither"),
        (lambda s: Sample(s.probabilities, s.embeddings, np.array([None, *"abcdefghijklmnopqrs"])), "have no unit"),
        (lambda s: s.take(np.array([], dtype=int)), "and some"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_name(spoil, said: str) -> None:  # type: ignore[no-untyped-def]
    sample = drawn(20, np.random.default_rng(0))
    with pytest.raises(EvidenceMissing, match=said):
        compare_samples(sample, spoil(sample), 99, 1000, np.random.default_rng(0))
