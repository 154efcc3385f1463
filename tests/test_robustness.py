"""The evaluator of robustness: means, pairs and clusters as computed by hand, and a brittle model is caught."""

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions, draw_stress
from plan_documents import plan_document

from tasks.errors import EvidenceMissing
from tasks.estimates import estimate_gain, estimate_mean_gain, estimate_mean_share, estimate_rate
from tasks.evaluators.robustness import answers, curves, evaluate
from tasks.evidence import Evidence
from tasks.findings import Finding, index_findings
from tasks.gate import judge_report
from tasks.plan import Plan

MANIFEST = draw_manifest()
OURS, THEIRS = draw_predictions(MANIFEST, 2, 1), draw_predictions(MANIFEST, 1, 2)
STRESS = draw_stress(MANIFEST, OURS, THEIRS)
EVIDENCE = Evidence(OURS, MANIFEST, PARAMS, THEIRS, stress=STRESS)


def found_in(evidence: Evidence) -> dict[tuple[str, str], Finding]:
    return index_findings(evaluate(evidence))


def hits_of(model: pd.DataFrame, kinds: str) -> pd.Series:
    """Share of right answers of each image under the conditions whose names match."""
    table = STRESS[(STRESS["model"] == model["model"].iloc[0]) & STRESS["condition"].str.match(kinds)]
    labelled = table.merge(MANIFEST[["image_id", "label"]], on="image_id")
    return (labelled["label"] == labelled["predicted"]).groupby(labelled["image_id"]).mean()


def test_the_mean_is_over_corruptions_and_not_over_scanners_or_attacks() -> None:
    finding = found_in(EVIDENCE)["corruption_accuracy", "test"]
    assert finding.value == pytest.approx(hits_of(OURS, "shot noise|fog").mean())
    assert finding.low < finding.value < finding.high
    assert (finding.n, finding.clusters) == (30, 30)


def test_drop_and_gain_are_paired_by_image() -> None:
    found, share = found_in(EVIDENCE), hits_of(OURS, "fog")
    taken = OURS.merge(MANIFEST[["image_id", "label"]], on="image_id").set_index("image_id").loc[share.index]
    clean = (taken["label"] == taken["predicted"]).mean()
    assert found["corruption_accuracy_drop", "test/corruption=fog"].value == pytest.approx(clean - share.mean())
    gain = share.mean() - hits_of(THEIRS, "fog").mean()
    assert found["corruption_gain_over_scratch", "test/corruption=fog"].value == pytest.approx(gain)


def test_each_condition_has_its_accuracy_and_its_confidence_beyond_it() -> None:
    found = found_in(EVIDENCE)
    table = STRESS[(STRESS["model"] == OURS["model"].iloc[0]) & (STRESS["condition"] == "faded 3")]
    accuracy = hits_of(OURS, "faded 3").mean()
    sure = table.filter(like="prob_").max(axis=1).mean()
    assert found["condition_accuracy", "test/scanner=faded 3"].value == pytest.approx(accuracy)
    assert found["condition_overconfidence", "test/scanner=faded 3"].value == pytest.approx(sure - accuracy)


def test_adversarial_accuracy_counts_what_no_attack_turns() -> None:
    found = found_in(EVIDENCE)
    alone, together = (found["adversarial_accuracy", place] for place in ("test/attack=pgd 2/255", "test"))
    assert alone.value == pytest.approx(hits_of(OURS, "pgd").mean())
    assert together.value <= alone.value


def test_a_brittle_model_fails_the_plan_and_a_robust_one_passes() -> None:
    criterion = {"metric": "corruption_accuracy", "slice": "test", "at_least": 0.6, "minimum_n": 20}
    criterion |= {"name": "corruptions", "severity": "block", "reason": "why"}
    plan = Plan.model_validate(plan_document(criterion))
    outcomes = []
    for skill in (0.0, 6.0):
        stress = draw_stress(MANIFEST, OURS, THEIRS, skill)
        outcomes.append(
            judge_report(evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS, stress=stress)), plan, {}).overall
        )
    assert outcomes == ["FAIL", "PASS"]


def test_curves_start_with_the_images_as_taken() -> None:
    table = curves(EVIDENCE)
    fog = table[(table["kind"] == "fog") & (table["model"] == "candidate")]
    assert list(fog["level"]) == ["0", "1", "3"]
    assert fog["accuracy"].iloc[0] == pytest.approx(answers(EVIDENCE)[0].as_taken.mean())
    assert set(table["model"]) == {"candidate", "scratch"}


def test_without_a_table_nothing_is_found() -> None:
    assert list(evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS))) == []
    assert curves(Evidence(OURS, MANIFEST, PARAMS, THEIRS)).empty


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (STRESS[STRESS["model"] != OURS["model"].iloc[0]], "hold none of model"),
        (STRESS.drop(index=0), "stressed in one way and not in another: test/0"),
        (pd.concat([STRESS, STRESS.iloc[:1]]), "stressed twice in one way: test/0"),
        (STRESS.replace("test/0", "mirror/0 faded"), "stressed but not in test: mirror/0 faded"),
        (STRESS.drop(columns="family"), "lack the column family"),
        (STRESS.assign(prob_a=2.0), "not a number from 0 to 1"),
        (STRESS[(STRESS["model"] == OURS["model"].iloc[0]) | (STRESS["condition"] != "fog 1")], "in different ways"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(EvidenceMissing, match=message):
        list(evaluate(Evidence(OURS, MANIFEST, PARAMS, THEIRS, stress=table)))


ROWS = pd.DataFrame({"group": "g", "unit": [f"u{k}" for k in range(400)]})


def test_one_condition_is_as_an_ordinary_share_and_an_ordinary_gain() -> None:
    random = np.random.default_rng(1)
    hits, others = random.random(400) < 0.8, random.random(400) < 0.7
    gains = hits.astype(float) - others
    for ours, plain in (
        (
            estimate_mean_share("m", "test", hits.astype(float), 1, ROWS, PARAMS),
            estimate_rate("m", "test", hits, ROWS, PARAMS),
        ),
        (estimate_mean_gain("m", "test", gains, 1, ROWS, PARAMS), estimate_gain("m", "test", gains, ROWS, PARAMS)),
    ):
        assert ours.value == plain.value
        assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=0.008)


def test_all_right_everywhere_is_no_more_certain_than_all_right_once() -> None:
    many = estimate_mean_share("m", "test", np.ones(400), 55, ROWS, PARAMS)
    once = estimate_rate("m", "test", np.ones(400), ROWS, PARAMS)
    assert many.low <= once.low + 1e-6
    assert many.high == 1


@pytest.mark.parametrize("right", [0.5, 0.93])
def test_intervals_of_means_over_conditions_cover_as_promised(right: float) -> None:
    """Images of unequal difficulty under 20 conditions: of 300 draws, 95 % should hold the truth (binomial 5 sigma)."""
    random, rows, covered = np.random.default_rng(7), ROWS.iloc[:60], 0
    params = PARAMS.model_copy(update={"resamples": 200})
    for _ in range(300):
        ease = random.beta(4 * right, 4 * (1 - right), 60)
        shares = random.binomial(20, ease) / 20
        finding = estimate_mean_share("m", "test", shares, 20, rows, params)
        covered += finding.low <= right <= finding.high
    assert covered / 300 >= 0.95 - 5 * (0.95 * 0.05 / 300) ** 0.5
