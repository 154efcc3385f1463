"""Must-pass cases: what the list must say, that none was trained on, and that one failed case fails a release."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tasks.cases import ANSWERS, LIST, passed, read_cases
from tasks.comparison import compare_cases
from tasks.errors import BadInput, DataRejected, EvidenceMissing, PlanInvalid
from tasks.evaluators import cases as evaluator
from tasks.evidence import Evidence
from tasks.gate import judge_report
from tasks.plan import load_plan
from tasks.predict_cases import predict_cases
from tasks.project import load_project
from tasks.verdict import FAIL, PASS
from tests.drawn_predictions import PARAMS, draw_manifest, draw_predictions
from tests.plan_documents import plan_document
from tests.small_model import write_model, write_pictures

SAID = {"added": "2026-03-01", "provenance": "night of 2026-02-27", "why": "cost an hour"}
CASE = {"name": "cases", "metric": "case_passed", "slice": "cases/case=*", "at_least": 1.0, "minimum_n": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cases, of which the second asks for a probability."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    rows = write_pictures(tmp_path / "cases", 4).drop(columns="sha256").assign(**SAID, at_least=[None, 0.6, None, None])
    rows.to_csv(tmp_path / "cases" / LIST, index=False)
    return tmp_path / "cases"


def rewrite(folder: Path, row: int, **values: object) -> None:
    table = pd.read_csv(folder / LIST, dtype=str)
    for name, value in values.items():
        table.loc[row, name] = value
    table.to_csv(folder / LIST, index=False)


def manifest_of(folder: Path, split: str, sha256: str) -> Path:
    (folder / "split").mkdir(exist_ok=True)
    table = pd.DataFrame({"image_id": ["x"], "split": [split], "sha256": [sha256]})
    table.to_parquet(folder / "split/manifest.parquet")
    return folder / "split"


def answered(hits: list[bool], sure: float = 0.9, at_least: float = np.nan) -> pd.DataFrame:
    """cases.parquet of cases of class a that were read right or wrong."""
    told = [sure if hit else 1 - sure for hit in hits]
    return pd.DataFrame(
        {
            "case": [f"case-{i}" for i in range(len(hits))],
            "label": "a",
            "predicted": ["a" if p > 0.5 else "b" for p in told],
            "prob_a": told,
            "prob_b": [1 - p for p in told],
            "at_least": at_least,
            **SAID,
        }
    )


def findings_of(cases: pd.DataFrame) -> list[tuple[str, float]]:
    manifest = draw_manifest()
    evidence = Evidence(draw_predictions(manifest, 2, 1), manifest, PARAMS, cases=cases)
    return [(f.slice, f.value) for f in evaluator.evaluate(evidence)]


def test_each_case_is_answered_as_the_model_answers_any_image(folder: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    given = {"cases": folder, "manifest": manifest_of(tmp_path, "train", "0" * 64), "model": model}
    predict_cases.fn(**given, out=tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / ANSWERS)
    assert list(table["case"]) == ["00", "01", "02", "03"]
    assert list(table["at_least"].isna()) == [True, False, True, True]
    assert table[["prob_cat", "prob_dog"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert list(table["why"]) == ["cost an hour"] * 4


def test_a_project_without_cases_has_no_rows_and_no_findings(tmp_path: Path) -> None:
    given = {"cases": None, "manifest": manifest_of(tmp_path, "train", "0" * 64), "model": write_model(tmp_path / "m")}
    predict_cases.fn(**given, out=tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / ANSWERS)
    assert (len(table), findings_of(table)) == (0, [])


@pytest.mark.parametrize("split", ["train", "validation", "calibration"])
def test_a_case_that_a_model_is_made_from_is_refused_by_name(folder: Path, tmp_path: Path, split: str) -> None:
    manifest = manifest_of(tmp_path, split, read_cases(folder)["sha256"].iloc[2])
    with pytest.raises(DataRejected, match=rf"1 images of the must-pass cases in .* made from: 02.png \({split}\)"):
        predict_cases.fn(cases=folder, manifest=manifest, model=write_model(tmp_path / "model"), out=tmp_path / "out")


def test_a_case_of_the_test_split_is_allowed(folder: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "test", read_cases(folder)["sha256"].iloc[2])
    predict_cases.fn(cases=folder, manifest=manifest, model=write_model(tmp_path / "model"), out=tmp_path / "out")
    assert len(pd.read_parquet(tmp_path / "out" / ANSWERS)) == 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"why": " "}, "line 3: empty or missing: why"),
        ({"added": "1/3/2026"}, "line 3: Invalid isoformat string: '1/3/2026'"),
        ({"at_least": "1.5"}, "at_least is 1.5; it is a probability above 0 and up to 1"),
        ({"file_name": "00.png"}, "1 must-pass cases are listed twice in .*: 00"),
        ({"file_name": "../x.png"}, "'../x.png' is no image beside the list"),
        ({"mood": "bad"}, "unknown: mood; the columns are file_name, label, added, provenance, why"),
    ],
)
def test_a_list_that_is_not_sound_is_refused_with_line_and_way_out(
    folder: Path, values: dict[str, str], said: str
) -> None:
    rewrite(folder, 1, **values)
    with pytest.raises(DataRejected, match=said):
        read_cases(folder)


def test_an_image_that_nobody_listed_and_a_missing_list_are_refused(folder: Path) -> None:
    (folder / "04.png").write_bytes(b"")
    with pytest.raises(DataRejected, match=r"lie in .* and not in cases.csv; list or remove them: 04.png"):
        read_cases(folder)
    (folder / LIST).unlink()
    with pytest.raises(BadInput, match=r"which lists the must-pass cases: .*No such file"):
        read_cases(folder)


def test_right_but_not_sure_enough_is_not_passed() -> None:
    assert list(passed(answered([True, False]))) == [True, False]
    assert list(passed(answered([True], sure=0.7, at_least=0.7))) == [True]
    assert list(passed(answered([True], sure=0.7, at_least=0.71))) == [False]
    with pytest.raises(EvidenceMissing, match="labels that the model does not know: z"):
        passed(answered([True]).assign(label="z"))


def judged(folder: Path, cases: pd.DataFrame) -> tuple[str, list[str]]:
    (folder / "plan.yaml").write_text(
        yaml.safe_dump(plan_document({**CASE, "severity": "block", "reason": "each one"}))
    )
    manifest = draw_manifest()
    evidence = Evidence(draw_predictions(manifest, 2, 1), manifest, PARAMS, cases=cases)
    verdict = judge_report(list(evaluator.evaluate(evidence)), load_plan(folder / "plan.yaml"), {})
    return verdict.overall, [f"{j.outcome} {j.slice}" for j in verdict.judgements]


def test_one_failed_case_among_many_fails_the_release_by_name(tmp_path: Path) -> None:
    assert judged(tmp_path, answered([True] * 30))[0] == PASS
    overall, said = judged(tmp_path, answered([True] * 29 + [False]))
    assert (overall, [s for s in said if s.startswith(FAIL)]) == (FAIL, ["FAIL cases/case=case-29"])
    assert judged(tmp_path, answered([]).astype({"prob_a": float})) == (
        FAIL,
        ["FAIL cases/case=*"],
    )  # none: no evidence


def test_only_what_the_champion_passed_can_be_lost() -> None:
    ours, theirs = answered([True, False, False, True]), answered([True, True, False, False])
    kept = [(f.slice, f.value) for f in compare_cases(ours, theirs, 0.95)]
    assert kept == [(f"cases/case=case-{i}", v) for i, v in enumerate([1.0, 0.0, 1.0, 1.0])]


def test_cases_have_metrics_of_their_own(tmp_path: Path) -> None:
    for changes, said in (
        ({"slice": "test"}, "case_passed is judged on cases/case=<name> or cases/case=\\* alone, not on test"),
        ({"metric": "accuracy"}, "accuracy is judged on test or mirror alone"),
    ):
        criterion = {**CASE, "severity": "block", "reason": "r", **changes}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan_document(criterion)))
        with pytest.raises(PlanInvalid, match=said):
            load_plan(tmp_path / "plan.yaml")


def test_the_bundled_cases_are_sound() -> None:
    folder = load_project(Path("governance/projects/digits.yaml")).cases
    assert len(read_cases(folder)) >= 5
