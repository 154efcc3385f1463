"""What a column tells of the label, against scikit-learn's adjusted mutual information; nothing where nothing is."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from tasks.cues import cue, shared
from tasks.resampling import Clusters


def alone(n: int) -> Clusters:
    return Clusters(np.arange(n), n, "images")


def columns(seed: int, n: int, told: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and devices; a device goes with the label in the share `told`."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return labels, np.where(random.uniform(size=n) < told, labels, random.integers(0, 3, n))


@pytest.mark.parametrize("told", [0.0, 0.3, 0.8])
def test_the_value_is_the_adjusted_mutual_information(told: float) -> None:
    labels, values = columns(1, 150, told)
    assert shared(labels, values, np.ones(150)) == pytest.approx(normalized_mutual_info_score(labels, values))
    found = cue(labels, values, alone(150), 400, 0.95, seed=2)
    assert found.value == pytest.approx(adjusted_mutual_info_score(labels, values), abs=0.003)
    assert found.low <= found.value <= found.high


def test_a_device_that_goes_with_the_class_is_told_from_chance() -> None:
    sure, none = (cue(*columns(3, 200, told), alone(200), 200, 0.95, seed=1) for told in (1.0, 0.0))
    assert (sure.value, sure.p) == (pytest.approx(1), pytest.approx(1 / 201))
    assert none.p > 0.05
    assert none.low < 0.02


def test_the_interval_holds_the_true_information() -> None:
    """The truth is that of a sample a thousand times as large."""
    labels, values = columns(0, 300_000, 0.5)
    truth = normalized_mutual_info_score(labels, values)
    found = [cue(*columns(seed, 300, 0.5), alone(300), 200, 0.95, seed) for seed in range(40)]
    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.86


def test_twenty_photographs_of_a_subject_are_no_twenty_proofs() -> None:
    """Each subject has one label and one device, independent of each other: few sets may look as if they were not."""
    ps = []
    for seed in range(80):
        random = np.random.default_rng(seed)
        codes = np.repeat(np.arange(20), 20)
        labels, devices = random.integers(0, 2, 20)[codes], random.integers(0, 2, 20)[codes]
        ps.append(cue(labels, devices, Clusters(codes, 20, "groups"), 100, 0.95, seed).p)
    assert np.mean(np.array(ps) <= 0.05) <= 0.12
