"""The evaluator of interpretability: its figures are those of the table, and a table of another model is refused."""

import pandas as pd
import pytest
from drawn_predictions import PARAMS, draw_attributions, draw_manifest, draw_predictions

from tasks.errors import EvidenceMissing
from tasks.evaluators.interpretability import METRICS, evaluate
from tasks.evidence import Evidence
from tasks.findings import index_findings

MANIFEST = draw_manifest()
OURS = draw_predictions(MANIFEST, 2, 1)
TABLE = draw_attributions(MANIFEST, OURS)


def evidence(table: pd.DataFrame | None) -> Evidence:
    return Evidence(OURS, MANIFEST, PARAMS, attributions=table)


def test_figures_are_the_means_of_the_table_with_intervals() -> None:
    found = index_findings(evaluate(evidence(TABLE)))
    assert {metric for metric, _ in found} == set(METRICS)
    gain = TABLE["insertion_auc"] - TABLE["deletion_auc"] - TABLE["random_insertion_auc"] + TABLE["random_deletion_auc"]
    wanted = {
        "attribution_gain_over_random": gain.mean(),
        "random_weights_correlation": TABLE["random_weights_correlation"].mean(),
        "border_attribution": TABLE["border_share"].mean(),
        "border_reliance": TABLE["border_changes"].mean(),
        "background_reliance": TABLE["background_changes"].mean(),
    }
    assert {metric: found[metric, "test"].value for metric in METRICS} == pytest.approx(wanted)
    assert all(f.low < f.value < f.high and f.n == 20 for f in found.values())


def test_an_image_without_a_donor_leaves_no_number() -> None:
    found = index_findings(evaluate(evidence(TABLE.assign(border_changes=float("nan")))))
    assert not found["border_reliance", "test"].is_number
    assert found["background_reliance", "test"].is_number


def test_without_a_table_nothing_is_found() -> None:
    assert list(evaluate(evidence(None))) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.assign(model="f" * 64), "was attributed, not the candidate"),
        (pd.concat([TABLE, TABLE.iloc[:1]]), "attributed twice: test/0"),
        (TABLE.replace("test/0", "train/0"), "attributed but not in test: train/0"),
        (TABLE.drop(columns="border_share"), "lack the column border_share"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(EvidenceMissing, match=message):
        list(evaluate(evidence(table)))
