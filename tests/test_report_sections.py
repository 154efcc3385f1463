"""The report's sections say what the findings say, and say so when there is nothing to say."""

import json
from pathlib import Path

import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions, draw_tables

from tasks.evaluate import evaluate
from tasks.findings import index_findings, read_findings
from tasks.report_sections import (
    Found,
    asking,
    attribution,
    groups,
    leakage,
    prediction_sets,
    privacy,
    robustness,
    weak_slices,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    manifest = draw_manifest(test=200, scans=80)
    weak = manifest["image_id"].str.contains("noise")
    ours, poor = draw_predictions(manifest, 3, seed=1), draw_predictions(manifest, 0, seed=1)
    ours = ours.where(~ours["image_id"].isin(manifest["image_id"][weak]), poor)
    tables = draw_tables(manifest, ours, draw_predictions(manifest, 1, seed=2))
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    inputs = {name: folder / f"{name}.parquet" for name in tables}
    return evaluate.fn(**inputs, plan=Path("governance/plan.yaml"), params=PARAMS, out=folder / "report")


@pytest.fixture(scope="module")
def found(report: Path) -> Found:
    return index_findings(read_findings(report))


def test_asking_repeats_the_findings_at_the_threshold(found: Found, report: Path) -> None:
    said = asking(found, report)
    assert said is not None
    coverage = found["coverage", "mirror"]
    assert said["answers"].startswith("from a confidence of ")
    assert said["rows"][1]["coverage"].startswith(f"{100 * coverage.value:.1f}\u00a0% [{100 * coverage.low:.1f},")
    assert said["plot"].startswith("<svg")


@pytest.mark.parametrize(("threshold", "answers"), [(None, "never"), (0.0, "always")])
def test_always_and_never_answering_are_said_as_such(
    found: Found, report: Path, tmp_path: Path, threshold: float | None, answers: str
) -> None:
    chosen = json.loads((report / "calibration.json").read_text())
    (tmp_path / "risk_coverage.csv").write_text((report / "risk_coverage.csv").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps(chosen | {"threshold": threshold}))
    said = asking(found, tmp_path)
    assert said is not None
    assert said["answers"] == answers
    (tmp_path / "calibration.json").write_text(json.dumps(chosen | {"threshold": None, "costs": None}))
    assert asking(found, tmp_path) is None


def test_slices_whose_sets_fall_short_of_the_promise_are_named(found: Found, report: Path) -> None:
    said = prediction_sets(found, report)
    assert said["target"] == "95 %"
    assert "mirror/condition=noise" in [row["slice"] for row in said["short"]]
    assert ("mirror/label=b", 81) in [(row["finding"].slice, row["finding"].n) for row in said["plot"]["rows"]]


def test_groups_are_compared_by_column(found: Found) -> None:
    said = groups(found)
    assert said is not None
    assert [row["columns"] for row in said["rows"]] == ["mirror/condition"]
    assert said["small"] == []
    assert groups({}) is None


def test_the_planted_weakness_leads_the_weak_slices(report: Path) -> None:
    first = weak_slices(report)[0]
    assert first["confirmed"]
    assert "condition=noise" in first["name"]
    assert first["chance"] == "below 0.001"


def test_robustness_is_drawn_for_each_corruption_and_told_for_each_attack(found: Found, report: Path) -> None:
    said = robustness(found, report)
    assert said is not None
    assert [row["where"] for row in said["rows"]] == ["all corruptions", "shot noise", "fog", "faded"]
    assert [row["attack"] for row in said["attacks"]] == ["pgd 2/255", "all of them, and as taken"]
    assert all(kind in said["plot"] for kind in ("shot noise", "fog", "faded"))
    assert robustness({}, report) is None


def test_the_gallery_comes_with_what_was_said_of_each_image(found: Found, tmp_path: Path) -> None:
    (tmp_path / "gallery.png").write_bytes(b"png")
    (tmp_path / "gallery.csv").write_text("row,column,actual,predicted,confidence\nwrong,1,1,07,0.9\nwrong,2,2,3,0.8\n")
    said = attribution(found, tmp_path)
    assert said is not None
    assert said["captions"] == [{"title": "wrong", "images": ["1 as 07 (90 %)", "2 as 3 (80 %)"]}]
    assert said["rows"][3]["figure"].startswith(f"{100 * found['border_reliance', 'test'].value:.1f}\u00a0% [")
    assert attribution({}, tmp_path) is None


def test_privacy_repeats_both_attacks_and_the_files_with_personal_data(found: Found, report: Path) -> None:
    said = privacy(found, report)
    assert said is not None
    area = found["membership_auc", "test"]
    assert said["rows"][0]["auc"].startswith(f"{100 * area.value:.1f}\u00a0% [")
    assert len(said["rows"]) == 2
    assert said["files"] == []
    assert privacy({}, report) is None


def test_copies_and_doubtful_labels_are_told_by_split(found: Found, report: Path) -> None:
    said = leakage(found, report)
    assert said is not None
    assert [row["split"] for row in said["copies"]] == ["test", "mirror"]
    assert [row["split"] for row in said["label_error_share"]] == ["train", "test"]
    assert {row["split"] for row in said["label_errors"]} <= {"train", "test"}
    assert said["label_cue"][0]["split"] == "train/condition=*"
    assert leakage({}, report) is None
