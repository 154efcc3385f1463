"""External sets: pinned, sound and never trained on, or refused by name; judged on their own by the plan."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sklearn.metrics import f1_score

from tasks.digests import digest_of
from tasks.errors import BadInput, DataRejected, DigestMismatch, PlanInvalid
from tasks.evaluators import external
from tasks.evidence import Evidence
from tasks.external import ANSWERS
from tasks.findings import index_findings
from tasks.gate import judge_report
from tasks.intervals import tango, wilson
from tasks.params import CheckDataParams, load_section
from tasks.plan import load_plan
from tasks.plan_text import describe_changes
from tasks.predict_external import predict_external
from tasks.verdict import FAIL, PASS
from tests.drawn_predictions import PARAMS, draw_manifest, draw_predictions
from tests.plan_documents import plan_document
from tests.small_model import write_model, write_pictures

LIMITS = load_section(CheckDataParams, Path("params.yaml"), {"max_sharpness": 1e9})  # drawn images are static
CRITERION = {"name": "elsewhere", "metric": "accuracy", "slice": "external/desk-c", "minimum_n": 10}


def write_plan(path: Path, folder: Path, sha256: str, at_least: float = 0.5, **changes: Any) -> Path:
    pinned = {"name": "desk-c", "data": str(folder), "sha256": sha256, "reason": "another desk"} | changes
    asked = [{**CRITERION, "at_least": at_least, "severity": "block", "reason": "r"}]
    path.write_text(yaml.safe_dump(plan_document(external=asked, external_sets=[pinned])))
    return path


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The inputs of the stage; the set has 16 images of 4 sheets."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    rows = write_pictures(tmp_path / "desk-c", 16).drop(columns="sha256")
    rows.assign(sheet=[str(i // 4) for i in range(16)]).to_csv(tmp_path / "desk-c/metadata.csv", index=False)
    (tmp_path / "split").mkdir()
    known = pd.DataFrame({"image_id": ["x"], "split": ["train"], "sha256": ["0" * 64]})
    known.to_parquet(tmp_path / "split/manifest.parquet")
    plan = write_plan(tmp_path / "plan.yaml", tmp_path / "desk-c", digest_of(tmp_path / "desk-c"))
    models = {"model": write_model(tmp_path / "model"), "scratch": write_model(tmp_path / "scratch", seed=1)}
    return {"plan": plan, "manifest": tmp_path / "split", **models, "params": LIMITS, "out": tmp_path / "external"}


def test_every_image_of_a_pinned_set_is_answered_by_both_models(given: dict[str, Any]) -> None:
    write_plan(
        given["plan"], given["plan"].with_name("desk-c"), digest_of(given["plan"].with_name("desk-c")), group="sheet"
    )
    predict_external.fn(**given)
    table = pd.read_parquet(given["out"] / ANSWERS)
    assert (set(table["set"]), len(table), table["group"].nunique()) == ({"desk-c"}, 16, 4)
    assert table[["prob_cat", "prob_dog"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(table["scratch_predicted"]) <= {"cat", "dog"}


def test_a_folder_that_is_not_the_one_pinned_is_refused(given: dict[str, Any]) -> None:
    folder = given["plan"].with_name("desk-c")
    (folder / "note.txt").write_text("new")
    with pytest.raises(DigestMismatch, match=r"external set desk-c: .* has the sha256 .*, the plan says"):
        predict_external.fn(**given)
    write_plan(given["plan"], folder.with_name("nowhere"), "0" * 64)
    with pytest.raises(BadInput, match=r"external set desk-c: there is no folder .*nowhere"):
        predict_external.fn(**given)


@pytest.mark.parametrize("split", ["train", "validation", "calibration"])
def test_an_image_that_a_model_is_made_from_is_refused_by_name(given: dict[str, Any], split: str) -> None:
    table = pd.read_parquet(given["manifest"] / "manifest.parquet").assign(split=split)
    table["sha256"] = digest_of(given["plan"].with_name("desk-c") / "05.png")
    table.to_parquet(given["manifest"] / "manifest.parquet")
    with pytest.raises(DataRejected, match=rf"1 images of the external set desk-c .* made from: 05.png \({split}\)"):
        predict_external.fn(**given)


def test_an_unknown_label_and_a_missing_column_are_refused(given: dict[str, Any]) -> None:
    folder = given["plan"].with_name("desk-c")
    table = pd.read_csv(folder / "metadata.csv")
    table.replace({"label": {"dog": "hound"}}).to_csv(folder / "metadata.csv", index=False)
    write_plan(given["plan"], folder, digest_of(folder))
    with pytest.raises(DataRejected, match="hound"):
        predict_external.fn(**given)
    write_plan(given["plan"], folder, digest_of(folder), group="writer")
    with pytest.raises(BadInput, match="group names the column 'writer'"):
        predict_external.fn(**given)


def test_a_plan_without_sets_leaves_an_empty_table_and_no_findings(given: dict[str, Any]) -> None:
    asked = {**CRITERION, "slice": "test", "at_least": 0.5, "severity": "block", "reason": "r"}
    given["plan"].write_text(yaml.safe_dump(plan_document(asked)))
    predict_external.fn(**given)
    table = pd.read_parquet(given["out"] / ANSWERS)
    assert (len(table), found_in(table)) == (0, {})


def drawn(skill: float = 2.5, groups: int | None = None) -> pd.DataFrame:
    """What two models may say of 300 images from elsewhere."""
    manifest = draw_manifest(test=300)
    ours, theirs = draw_predictions(manifest, skill, 1), draw_predictions(manifest, 1, 2)
    rows = manifest[manifest["split"] == "test"][["image_id", "label"]].merge(ours.drop(columns="condition"))
    rows = rows.merge(theirs[["image_id", "predicted"]].rename(columns={"predicted": "scratch_predicted"}))
    whole = rows["image_id"] if groups is None else pd.Series([f"g{i % groups}" for i in range(300)])
    return rows.assign(set="desk-c", group=whole, unit=whole, sha256="")


def found_in(table: pd.DataFrame) -> dict[tuple[str, str], Any]:
    manifest = draw_manifest()
    evidence = Evidence(draw_predictions(manifest, 2, 1), manifest, PARAMS, external=table)
    return index_findings(external.evaluate(evidence))


def test_figures_are_those_of_other_libraries() -> None:
    table = drawn()
    found = found_in(table)
    right, theirs = table["label"] == table["predicted"], table["label"] == table["scratch_predicted"]
    accuracy = found["accuracy", "external/desk-c"]
    assert (accuracy.value, accuracy.n) == (pytest.approx(right.mean()), 300)
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(right.sum(), 300, 0.95))
    f1 = found["macro_f1", "external/desk-c"]
    assert f1.value == pytest.approx(f1_score(table["label"], table["predicted"], average="macro"))
    gain = found["accuracy_gain_over_scratch", "external/desk-c"]
    assert (gain.low, gain.high) == pytest.approx(tango((right & ~theirs).sum(), (theirs & ~right).sum(), 300, 0.95))
    recall = found["recall", "external/desk-c/label=b"]
    assert recall.value == pytest.approx(right[table["label"] == "b"].mean())
    assert found["ece", "external/desk-c"].low < found["ece", "external/desk-c"].high


def test_images_of_one_group_are_dependent() -> None:
    found = found_in(drawn(groups=20))["accuracy", "external/desk-c"]
    assert (found.n, found.clusters) == (300, 20)


def test_the_section_external_is_judged_on_its_own_set(tmp_path: Path) -> None:
    plan = load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "0" * 64, at_least=0.6))
    assert judge_report(list(found_in(drawn(4)).values()), plan, {}).overall == PASS
    assert judge_report(list(found_in(drawn(0.2)).values()), plan, {}).overall == FAIL
    missing = judge_report([], plan, {})
    assert (missing.overall, "no evidence" in missing.judgements[0].sentence) == (FAIL, True)


def test_a_criterion_must_name_a_set_of_the_plan_and_a_set_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(
        PlanInvalid, match="criterion 'elsewhere' is on external/desk-c, but the external sets are desk-d"
    ):
        load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "0" * 64, name="desk-d"))
    with pytest.raises(PlanInvalid, match=r"external_sets.0.sha256"):
        load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "abc"))
    document = yaml.safe_load(write_plan(tmp_path / "plan.yaml", tmp_path, "0" * 64).read_text())
    document["external_sets"] *= 2
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(PlanInvalid, match="external sets named more than once: desk-c"):
        load_plan(tmp_path / "plan.yaml")


def test_another_pinned_set_is_another_plan(tmp_path: Path) -> None:
    old = load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "0" * 64))
    new = load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "1" * 64))
    assert old.digest != new.digest
    said = describe_changes(old, new)
    assert any(line.startswith("external sets: desk-c (000000000000) -> desk-c (111111111111)") for line in said)
    worded = load_plan(write_plan(tmp_path / "plan.yaml", tmp_path, "0" * 64, reason="other words"))
    assert worded.digest == old.digest
