"""The search finds a slice that was planted, and confirms none where there is none."""

import math

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import PARAMS
from scipy.stats import t

from tasks.evaluators import weak_slices
from tasks.evaluators.weak_slices import chance, find, halves, table
from tasks.evidence import Evidence
from tasks.findings import index_findings
from tasks.resampling import Clusters


def rows(seed: int, n: int, planted: float | None = None, each: int = 1) -> pd.DataFrame:
    """n images right in 90 %, in units of `each`; those that are dark and wet in the share `planted`."""
    random = np.random.default_rng(seed)
    unit = np.arange(n) // each
    weather = random.choice(["dry", "wet", "snow"], n)
    frame = pd.DataFrame(
        {"image_id": [f"i{i}" for i in range(n)], "label": random.choice(["a", "b"], n), "split": "test"}
    )
    frame = frame.assign(
        group="one", unit=unit.astype(str), slice_weather=weather, slice_site=random.choice(list("pqrs"), n)
    )
    frame = frame.assign(brightness=random.uniform(20, 200, n), contrast=random.uniform(10, 60, n), width=64)
    weak = (frame["brightness"] <= 60) & (frame["slice_weather"] == "wet")
    luck = random.uniform(size=int(unit.max()) + 1)[unit]
    right = luck < np.where(weak, 0.9 if planted is None else planted, 0.9)
    told = random.uniform(0.5, 1, n)
    predicted = np.where(right, frame["label"], np.where(frame["label"] == "a", "b", "a"))
    columns = {f"prob_{c}": np.where(predicted == c, told, 1 - told) for c in "ab"}
    return frame.assign(predicted=predicted, model="m" * 64, **columns)


def test_a_planted_slice_is_found_confirmed_and_named() -> None:
    found = find(rows(1, 1200, planted=0.4), PARAMS)
    first = found[0]
    assert first["confirmed"]
    assert "weather=wet" in first["name"]
    assert "brightness=up to" in first["name"]
    assert first["low"] <= 0.4 <= first["high"]
    assert first["p"] <= first["adjusted_p"] <= PARAMS.false_discovery_rate


def test_the_finding_is_the_weakest_confirmed_slice_and_the_table_lists_all() -> None:
    frame = rows(1, 1200, planted=0.4)
    manifest = frame.drop(columns=["predicted", "model", "prob_a", "prob_b"])
    predictions = frame[["image_id", "predicted", "model", "prob_a", "prob_b"]]
    [finding] = weak_slices.evaluate(Evidence(predictions, manifest, PARAMS))
    listed = table(Evidence(predictions, manifest, PARAMS))
    assert finding.slice == f"test/weak={listed[0]['name']}"
    assert finding.value == listed[0]["value"] == min(row["value"] for row in listed if row["confirmed"])
    assert 1 <= len(listed) <= PARAMS.beam
    wrong = set(frame["image_id"][frame["predicted"] != frame["label"]])
    assert set(listed[0]["examples"]) <= wrong


def test_without_a_weak_slice_the_confirming_half_itself_is_reported() -> None:
    frame = rows(2, 400)
    manifest, predictions = frame.drop(columns=["predicted", "model", "prob_a", "prob_b"]), frame
    [finding] = index_findings(weak_slices.evaluate(Evidence(predictions, manifest, PARAMS))).values()
    assert (finding.slice, finding.n) == ("test/weak=none", 200)


@pytest.mark.parametrize("each", [1, 4])
def test_on_data_without_a_weak_slice_few_searches_confirm_one(each: int) -> None:
    """All discoveries are false here, so the false discovery rate is the share of searches that confirm any."""
    sets = 60
    false = sum(any(f["confirmed"] for f in find(rows(100 + seed, 480, each=each), PARAMS)) for seed in range(sets))
    assert false / sets <= PARAMS.false_discovery_rate + 3 * math.sqrt(0.05 * 0.95 / sets)


def test_beside_a_weak_slice_few_of_the_confirmed_ones_are_others() -> None:
    """A proposed slice is false when it does not touch the planted one more than chance would."""
    shares = []
    for seed in range(20):
        frame = rows(300 + seed, 900, planted=0.3)
        confirmed = [f for f in find(frame, PARAMS) if f["confirmed"]]
        false = [f for f in confirmed if "weather=wet" not in f["name"] and "brightness=up to" not in f["name"]]
        shares.append(len(false) / max(1, len(confirmed)))
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / math.sqrt(20)


def test_the_chance_is_that_of_welchs_t_on_independent_images() -> None:
    random = np.random.default_rng(3)
    inside, hits = random.uniform(size=300) < 0.2, random.uniform(size=300) < 0.8
    n, m = inside.sum(), (~inside).sum()
    spread = hits[inside].var() / n + hits[~inside].var() / m
    expected = t.cdf((hits[inside].mean() - hits[~inside].mean()) / math.sqrt(spread * 300 / 299), n - 1)
    assert chance(inside, hits, Clusters(np.arange(300), 300, "images")) == pytest.approx(expected)


def test_a_cluster_is_searched_or_confirmed_on_never_both() -> None:
    codes = np.repeat(np.arange(31), 3)
    searched, confirming = halves(Clusters(codes, 31, "units"), seed=1)
    assert not set(codes[searched]) & set(codes[confirming])
    assert (len(set(codes[searched])), len(set(codes[confirming]))) == (15, 16)
