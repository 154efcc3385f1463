"""A night's drift: the decision, the audit of the tests, where to look, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tasks import drift_audit
from tasks.anomalies import most_anomalous
from tasks.drift import Drift, judge_drift
from tasks.drift_audit import audit_tests, count_alarms, moved, of_one_class
from tasks.drift_rules import DriftRules
from tasks.drift_slices import OUTPUTS, SHARE, most_moved_slice
from tasks.errors import EvidenceMissing
from tasks.intervals import clopper_pearson
from tasks.samples import Sample, lay_together
from tasks.two_sample import draw_labels
from tests.drawn_samples import drawn, snapshot_of

RULES = DriftRules(
    false_alarm_every=20, permutations=199, audit_splits=60, audit_permutations=39, audit_tries=10, reason="a test"
)


def night(seed: int, shift: float = 0.0, n: int = 40) -> Drift:
    random = np.random.default_rng(seed)
    reference, current = drawn(150, random), drawn(n, random, shift)
    return judge_drift(snapshot_of(reference), snapshot_of(current, "night"), RULES, seed)


def test_drift_is_found_said_and_survives_json() -> None:
    found = night(1, shift=1.0)
    assert found.alarm
    assert found.p <= found.level == 0.05
    assert found.strongest.name == "whitened energy"
    assert found.sentences[0].startswith("drift: adjusted p = ")
    assert Drift.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def test_without_a_shift_nights_alarm_as_rarely_as_promised() -> None:
    quick = RULES.model_copy(update={"audit_splits": 1, "audit_tries": 1, "permutations": 99})
    random, alarms = np.random.default_rng(2), 0
    for seed in range(50):
        reference, current = snapshot_of(drawn(60, random)), snapshot_of(drawn(20, random))
        alarms += judge_drift(reference, current, quick, seed).alarm
    assert clopper_pearson(alarms, 50, 0.998).low <= 0.05
    assert alarms > 0  # it can alarm at all


def test_same_seed_gives_the_same_night() -> None:
    assert night(3) == night(3)


def test_record_that_lacks_a_part_is_refused() -> None:
    told = night(4).as_dict()
    del told["audit"]
    with pytest.raises(EvidenceMissing, match="audit"):
        Drift.from_dict(told)


def test_audit_of_exact_tests_says_calibrated_and_of_a_test_that_alarms_at_will_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = drawn(100, np.random.default_rng(5))
    sound = audit_tests(sample, 20, None, 0.05, RULES.effort, np.random.default_rng(5))
    assert sound.calibrated
    assert (sound.n_reference, sound.n_current, sound.splits) == (80, 20, 60)
    assert (sound.low, sound.high) == clopper_pearson(sound.alarms, 60, 0.999)
    monkeypatch.setattr(drift_audit, "adjusted_p_values", lambda values: np.array([0.04 if values[0, 0] else 1.0]))
    assert not audit_tests(sample, 20, None, 0.05, RULES.effort, np.random.default_rng(5)).calibrated


def test_reference_whose_nights_differ_among_themselves_is_not_believed() -> None:
    random = np.random.default_rng(17)
    alike, nights = drawn(160, random), np.repeat(np.arange(8), 20)
    apart = Sample(alike.probabilities, alike.embeddings + 2 * random.normal(size=(8, 8))[nights])
    told = {}
    for name, sample in (("alike", alike), ("apart", apart)):
        reference = replace(snapshot_of(sample), nights=nights)
        told[name] = judge_drift(reference, snapshot_of(drawn(20, random)), RULES, 0)
    assert told["alike"].calibrated
    assert told["alike"].audit.nights == 8
    assert not told["apart"].calibrated
    assert told["apart"].audit.night_alarms >= 6
    assert told["apart"].audit.low <= 0.05  # random splits of it are alike, and cannot show this
    assert f"8 nights {told['apart'].audit.night_alarms} alarm" in told["apart"].sentences[3]


def test_two_nights_that_differ_are_one_comparison_and_prove_nothing() -> None:
    random = np.random.default_rng(17)
    alike, nights = drawn(80, random), np.repeat(np.arange(2), 40)
    apart = Sample(alike.probabilities, alike.embeddings + 2 * nights[:, None])
    told = judge_drift(replace(snapshot_of(apart), nights=nights), snapshot_of(drawn(20, random)), RULES, 0)
    assert (told.audit.nights, told.audit.night_alarms) == (1, 1)
    assert told.calibrated
    assert told.sentences[3].startswith("the reference's two nights differ by these tests")


def test_uncalibrated_night_cannot_be_judged() -> None:
    found = night(6, shift=1.0)
    doubted = replace(found, audit=replace(found.audit, low=0.2))
    assert found.calibrated
    assert not doubted.calibrated
    assert doubted.sentences[0].startswith("drift cannot be judged")


def test_splits_alarm_at_the_nominal_rate() -> None:
    random = np.random.default_rng(7)
    pool = lay_together(drawn(60, random), drawn(20, random), 1000, random)
    alarms = count_alarms(pool, 0.1, 500, 39, random)
    assert alarms / 500 == pytest.approx(0.1, abs=3 * np.sqrt(0.1 * 0.9 / 500))


def test_audit_sees_smaller_shares_with_more_images() -> None:
    sample = drawn(300, np.random.default_rng(8))
    few, many = (audit_tests(sample, n, None, 0.05, RULES.effort, np.random.default_rng(8)).sights for n in (6, 100))
    for small, large in zip(few, many, strict=True):
        assert large.share is not None
        assert small.share is None or small.share > large.share
        assert large.found >= 0.8 * large.tries


def test_injected_changes_are_what_they_say() -> None:
    random = np.random.default_rng(9)
    reference, chosen = drawn(500, random), np.array([1, 4])
    pushed = moved(reference)(reference, chosen, random)
    step = (pushed.embeddings - reference.embeddings)[chosen]
    assert np.linalg.norm(step, axis=1) == pytest.approx(2 * 3.0, rel=0.1)  # the widest direction's deviation is 3
    assert np.all(pushed.probabilities[chosen].max(axis=1) < reference.probabilities[chosen].max(axis=1))
    assert np.array_equal(np.delete(pushed.embeddings, chosen, 0), np.delete(reference.embeddings, chosen, 0))
    replaced = of_one_class(reference)(reference, chosen, random)
    frequent = np.bincount(reference.probabilities.argmax(axis=1)).argmax()
    assert set(replaced.probabilities[chosen].argmax(axis=1)) == {frequent}


def test_slice_whose_share_grew_is_named_with_its_shares() -> None:
    random = np.random.default_rng(10)
    reference, current = drawn(200, random), drawn(100, random)
    slices = pd.DataFrame({"desk": random.choice(["a", "b"], 300), "pen": random.choice(["x", "y"], 300)})
    slices.loc[200:, "desk"] = random.choice(["a", "b"], 100, p=[0.9, 0.1])
    pool = lay_together(reference, current, 1000, random)
    found = most_moved_slice(pool, draw_labels(pool.current, 199, random), slices, 10)
    assert found is not None
    assert (found.slice.startswith("desk="), found.what) == (True, SHARE)
    assert found.p <= 0.01
    side = found.slice.removeprefix("desk=")
    assert found.current_share == (slices["desk"][200:] == side).mean()
    assert found.reference_share == (slices["desk"][:200] == side).mean()
    assert found.effect == pytest.approx(found.current_share - found.reference_share, abs=1e-6)


def test_slice_whose_outputs_moved_is_named() -> None:
    random = np.random.default_rng(11)
    reference, current = drawn(200, random), drawn(100, random)
    desk = random.choice(["a", "b"], 300)
    told = np.where((desk[200:] == "b")[:, None], current.probabilities / 3 + 1 / 6, current.probabilities)
    pool = lay_together(reference, Sample(told, current.embeddings), 1000, random)
    found = most_moved_slice(pool, draw_labels(pool.current, 199, random), pd.DataFrame({"desk": desk}), 10)
    assert found is not None
    assert (found.slice, found.what, found.p) == ("desk=b", OUTPUTS, 0.005)
    assert 0.2 < found.effect <= 1


def test_picked_slice_is_rarely_significant_without_a_shift() -> None:
    random, hits = np.random.default_rng(12), 0
    for _ in range(100):
        pool = lay_together(drawn(60, random), drawn(30, random), 1000, random)
        slices = pd.DataFrame({"desk": random.choice(list("abcd"), 90), "pen": random.choice(["x", "y"], 90)})
        found = most_moved_slice(pool, draw_labels(pool.current, 99, random), slices, 5)
        hits += found is not None and found.p <= 0.1
    assert hits / 100 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 100)


def test_no_slice_is_named_where_none_has_enough_images() -> None:
    random = np.random.default_rng(13)
    pool = lay_together(drawn(20, random), drawn(20, random), 1000, random)
    names = pd.DataFrame({"name": [str(i) for i in range(40)], "all": ["same"] * 40})
    assert most_moved_slice(pool, draw_labels(pool.current, 9, random), names, 5) is None


def test_furthest_image_is_named_first_and_measured_against_other_units() -> None:
    random = np.random.default_rng(14)
    reference, current = drawn(100, random), drawn(10, random)
    current.embeddings[7] += 50
    found = most_anomalous([f"i{k}" for k in range(10)], current.embeddings, reference, 5, 3, 1000, random)
    assert found[0].image_id == "i7"
    assert len(found) == 3
    assert found[0].p == 1 / 101
    assert found[0].score > 10
    twins = Sample(np.repeat(reference.probabilities, 6, 0), np.repeat(reference.embeddings, 6, 0))
    units = Sample(twins.probabilities, twins.embeddings, np.repeat(np.arange(100), 6))
    [ordinary] = most_anomalous(["i"], current.embeddings[:1], units, 5, 1, 1000, random)
    assert ordinary.p > 1 / 601  # its own copies do not make every other image an outlier
    with pytest.raises(EvidenceMissing, match="all alike"):
        most_anomalous(["i"], current.embeddings[:1], twins, 5, 1, 1000, random)


def test_anomaly_p_value_is_uniform_for_ordinary_images() -> None:
    random = np.random.default_rng(15)
    found = most_anomalous(
        [str(k) for k in range(400)], drawn(400, random).embeddings, drawn(400, random), 5, 400, 1000, random
    )
    assert np.mean([a.p <= 0.1 for a in found]) == pytest.approx(0.1, abs=0.06)


def test_too_few_images_a_missing_slice_or_an_id_twice_are_refused() -> None:
    random = np.random.default_rng(16)
    reference, current = snapshot_of(drawn(50, random)), snapshot_of(drawn(20, random))
    with pytest.raises(EvidenceMissing, match="night has 5 images of 5 units, `least_images` asks for 10"):
        judge_drift(reference, snapshot_of(drawn(5, random)), RULES, 0)
    few_units = Sample(current.probabilities, current.embeddings, np.repeat(np.arange(4), 5))
    with pytest.raises(EvidenceMissing, match="20 images of 4 units"):
        judge_drift(reference, snapshot_of(few_units), RULES, 0)
    for change, said in (
        ({"image_ids": ("same",) * 20}, "an image twice: same"),
        ({"slices": current.slices.assign(side=None)}, "missing values in the slices side"),
        ({"slices": current.slices[["side"]]}, "slices of the reference are"),
        ({"slices": current.slices[:3]}, "3 rows of slices"),
        ({"nights": np.array(["2026-06-01"])}, "images without a night"),
        ({"embeddings": np.full((20, 8), np.nan)}, "20 of the 20 night images"),
    ):
        with pytest.raises(EvidenceMissing, match=said):
            judge_drift(reference, replace(current, **change), RULES, 0)


def test_rules_that_could_never_alarm_or_hold_a_key_too_many_are_refused() -> None:
    with pytest.raises(ValidationError, match="no drift could ever alarm"):
        DriftRules(false_alarm_every=1000, permutations=500, reason="a test")
    with pytest.raises(ValidationError, match="Extra inputs"):
        DriftRules.model_validate({"reason": "a test", "level": 0.5})
    with pytest.raises(ValidationError, match="reason"):
        DriftRules.model_validate({})
