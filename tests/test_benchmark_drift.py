"""The draws of benchmarks/drift.py are what they say, and its peers decide as their libraries do."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from benchmarks import drift as benchmark
from benchmarks.drift import CLEAN, KNOCKOUT, ONE_CLASS, Scored, Shift
from benchmarks.peers import drift_tests
from tests.drawn_samples import drawn


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Scored:
    """Clean images numbered in their only feature, whose class is told by the number, and noisy ones below zero."""
    number = np.arange(1000.0)
    clean = Scored(number[:, None], np.eye(4)[np.arange(1000) % 4], np.arange(1000) % 4)
    noisy = Scored(-1 - number[:, None], clean.probabilities, clean.labels)
    monkeypatch.setattr(benchmark, "BANK", {(CLEAN, 0): clean, ("noise", 3): noisy})
    return clean


@pytest.mark.parametrize("shift", [Shift(CLEAN), Shift("noise", 3, 0.5), Shift(KNOCKOUT, 0, 1.0)])
def test_a_draw_has_no_image_twice_and_as_many_as_asked(bank: Scored, shift: Shift) -> None:
    reference, current = benchmark.draw(shift, 100, 300, np.random.default_rng(0))
    images = np.concatenate([reference.embeddings, current.embeddings])
    assert (len(reference), len(current), len(np.unique(images))) == (300, 100, 400)
    assert (current.embeddings < 0).mean() == (0.5 if shift.kind == "noise" else 0)
    assert (reference.embeddings >= 0).all()


def test_knockout_and_one_class_change_the_share_of_one_class(bank: Scored) -> None:
    shares = {
        kind: np.bincount(
            benchmark.draw(Shift(kind, 0, share), 200, 300, np.random.default_rng(1))[1].probabilities.argmax(1),
            minlength=4,
        )
        / 200
        for kind, share in ((KNOCKOUT, 1.0), (ONE_CLASS, 0.5))
    }
    assert shares[KNOCKOUT].min() == 0
    assert 0.55 < shares[ONE_CLASS].max() < 0.75  # half of them, and a quarter of the other half


def test_bonferroni_is_over_the_columns() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        one, other = random.normal(size=(40, 3)), random.normal(0.3, 1, (40, 3))
        smallest = min(ks_2samp(one[:, k], other[:, k]).pvalue for k in range(3))
        assert drift_tests.ks_each(one, other) == (smallest < 0.05 / 3)


def test_peers_leave_samples_and_numpys_seed_as_they_were_and_find_what_is_plain() -> None:
    random = np.random.default_rng(3)
    reference, current = drawn(200, random), drawn(100, random, 3.0)
    copies = reference.embeddings.copy(), current.embeddings.copy()
    np.random.seed(5)
    before = np.random.random()
    np.random.seed(5)
    said = drift_tests.alarms(reference, current, random)
    assert np.random.random() == before
    assert np.array_equal(reference.embeddings, copies[0])
    assert np.array_equal(current.embeddings, copies[1])
    assert said["MMD"] == said["KS features"] == said["Evidently model"] == 1
    assert said["BBSD"] == said["Evidently columns"] == 0  # the moved feature tells no class


def test_permutation_mmd_alarms_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    pairs = ((drawn(30, random).embeddings, drawn(20, random).embeddings) for _ in range(200))
    assert np.mean([drift_tests.mmd(*pair, random) for pair in pairs]) == pytest.approx(0.05, abs=0.047)
