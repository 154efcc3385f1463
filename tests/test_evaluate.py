"""The stage evaluate: files in, report out, the same bytes each time, and a plan that the report can answer."""

import json
from pathlib import Path

import pandas as pd
import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions, draw_tables

from tasks import comparison, latency
from tasks.errors import EvidenceMissing
from tasks.evaluate import evaluate
from tasks.findings import read_findings
from tasks.metrics import REGISTRY
from tasks.plan import OF_ONE_MODEL, load_plan
from tasks.report import EVALUATORS

MANIFEST = draw_manifest(train=58).assign(
    slice_stroke=lambda table: ["bold", "thin"] * (len(table) // 2),
    slice_slant=lambda table: ["left", "right", "right", "left"] * (len(table) // 4),
    annotator_1=lambda table: table["label"],
    annotator_2=lambda table: ["a", *table["label"].iloc[1:]],
)
PLAN = Path("governance/plan.yaml")


def put_inputs(folder: Path, predictions: pd.DataFrame | None = None) -> dict[str, Path]:
    ours = draw_predictions(MANIFEST, 2, seed=1) if predictions is None else predictions
    tables = draw_tables(MANIFEST, ours, draw_predictions(MANIFEST, 1, seed=2))
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        table.to_parquet(folder / name / f"{name.removeprefix('scratch_')}.parquet", index=False)
    return {"plan": PLAN, **{name: folder / name for name in tables}}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return evaluate.fn(**put_inputs(folder), params=PARAMS, out=folder / "report")


def test_every_evaluator_reports_what_it_announces_and_a_plan_may_name_it(report: Path) -> None:
    elsewhere = {*comparison.METRICS, *latency.METRICS}
    announced = {metric for evaluator in EVALUATORS.values() for metric in evaluator.METRICS}
    assert {f.metric for f in read_findings(report)} == announced == set(REGISTRY) - elsewhere


def test_every_criterion_of_the_committed_plan_finds_its_evidence(report: Path) -> None:
    places = {(f.metric, f.slice) for f in read_findings(report)}
    for c in load_plan(PLAN).asked(*OF_ONE_MODEL):
        start = c.everywhere or c.slice
        assert any(m == c.metric and p.startswith(start) for m, p in places), c.name


def test_metrics_json_holds_the_point_values_of_each_split(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    values = {f.metric: f.value for f in read_findings(report) if f.slice == "mirror"}
    assert metrics["mirror"] == values
    assert set(metrics) == {"test", "mirror"}


def test_the_tables_for_plots_have_a_row_a_test_image_and_a_bin(report: Path) -> None:
    confusion = pd.read_csv(report / "confusion.csv")
    assert list(confusion.columns) == ["actual", "predicted"]
    assert len(confusion) == 60
    reliability = pd.read_csv(report / "reliability.csv")
    assert reliability.groupby("split")["count"].sum().to_dict() == {"mirror": 36, "test": 60}


def test_two_runs_write_the_same_bytes(report: Path, tmp_path: Path) -> None:
    again = evaluate.fn(**put_inputs(tmp_path), params=PARAMS, out=tmp_path / "report")
    names = ["report.json", "metrics.json", "confusion.csv", "reliability.csv", "evidence.json"]
    names += ["robustness.csv", "risk_coverage.csv", "calibration.json", "weak_slices.json", "leakage.json"]
    names += ["personal_data.json"]
    assert [(again / n).read_bytes() for n in names] == [(report / n).read_bytes() for n in names]


def test_what_was_chosen_on_the_calibration_split_is_kept_with_the_costs(report: Path) -> None:
    chosen = json.loads((report / "calibration.json").read_text())
    costs = load_plan(PLAN).costs
    assert costs is not None
    assert (chosen["images"], chosen["costs"], chosen["conformal_alpha"]) == (40, costs.model_dump(), 0.05)
    curve = pd.read_csv(report / "risk_coverage.csv")
    kept = curve[(curve["split"] == "test") & (curve["confidence"] >= chosen["threshold"])]["coverage"].max()
    assert {f.value for f in read_findings(report) if (f.metric, f.slice) == ("coverage", "test")} == {kept}


def test_the_weak_slices_lie_beside_the_report(report: Path) -> None:
    listed = json.loads((report / "weak_slices.json").read_text())
    assert {row["split"] for row in listed} <= {"test", "mirror"}
    assert all({"name", "n", "value", "low", "high", "p", "confirmed", "examples"} < set(row) for row in listed)


def test_a_missing_prediction_leaves_no_report(tmp_path: Path) -> None:
    predictions = draw_predictions(MANIFEST, 2, seed=1)
    inputs = put_inputs(tmp_path, predictions[predictions["image_id"] != "test/3"])
    with pytest.raises(EvidenceMissing, match="without a prediction: test/3"):
        evaluate.fn(**inputs, params=PARAMS, out=tmp_path / "report")
    assert not (tmp_path / "report").exists()
