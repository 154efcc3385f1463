"""The stage judge: a verdict on the model that was measured, and on no other."""

from pathlib import Path

import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions, draw_tables

from tasks.digests import sha256_file
from tasks.errors import DigestMismatch, EvidenceMissing, PlanInvalid
from tasks.evaluate import evaluate
from tasks.judge import judge
from tasks.verdict import INCONCLUSIVE, NOT_APPLICABLE, PASS, read_verdict

PLAN = """
reuse: {none: a test}
stop: {none: a test}
costs: {none: a test}
champion: {none: a test}
calibration: {none: a test}
fairness: {none: a test}
robustness: {none: a test}
privacy: {none: a test}
latency: {none: a test}
interpretability: {none: a test}
leakage: {none: a test}
external: {none: a test}
version: 1
use_case: letters
owner: forms team
review_by: 2027-05-31
level: 0.95
standard:
  - {name: accuracy, metric: accuracy, slice: test, at_least: 0.7, minimum_n: 50, severity: block, reason: why}
  - {name: odd, metric: accuracy, slice: mirror/condition=*, at_least: 0.5, minimum_n: 30, severity: block, reason: y}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    digest = sha256_file(folder / "model" / "model.safetensors")
    manifest = draw_manifest()
    tables = draw_tables(manifest, draw_predictions(manifest, 4, 1, digest), draw_predictions(manifest, 1, 2))
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    (folder / "plan.yaml").write_text(PLAN)
    inputs = {"plan": folder / "plan.yaml", **{name: folder / f"{name}.parquet" for name in tables}}
    evaluate.fn(**inputs, params=PARAMS, out=folder / "report")
    return folder


def run(folder: Path, out: Path, not_applicable: str = "{}") -> Path:
    project = out.with_name("letters.yaml")
    project.write_text(f"name: letters\ndata: data\nnot_applicable: {not_applicable}\n")
    inputs = {"report": folder / "report", "plan": folder / "plan.yaml", "model": folder / "model"}
    return judge.fn(**inputs, project=project, out=out)


def test_the_verdict_names_every_slice_and_what_it_rests_on(folder: Path, tmp_path: Path) -> None:
    verdict = read_verdict(run(folder, tmp_path / "verdict"))
    assert [j.outcome for j in verdict.judgements] == [PASS, *[INCONCLUSIVE] * 3]
    assert not verdict.passed
    assert verdict.digests["plan"] == sha256_file(folder / "plan.yaml")
    assert verdict.digests["report"] == sha256_file(folder / "report" / "report.json")
    assert verdict.digests["predictions"] == sha256_file(folder / "predictions.parquet")
    assert verdict.digests["model"] == sha256_file(folder / "model" / "model.safetensors")


def test_the_projects_reasons_are_heard(folder: Path, tmp_path: Path) -> None:
    verdict = read_verdict(run(folder, tmp_path / "verdict", "{odd: one desk only}"))
    assert verdict.overall == PASS
    assert verdict.judgements[1].outcome == NOT_APPLICABLE


def test_a_reason_for_a_criterion_that_the_plan_lacks_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="not_applicable names 'fairness'"):
        run(folder, tmp_path / "verdict", "{fairness: no groups}")


def test_a_report_on_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(b"other weights")
    try:
        with pytest.raises(DigestMismatch, match="run predict and evaluate for this model"):
            run(folder, tmp_path / "verdict")
    finally:
        weights.write_bytes(b"weights")


def test_a_report_that_does_not_say_what_it_measured_is_refused(folder: Path, tmp_path: Path) -> None:
    evidence = folder / "report" / "evidence.json"
    kept = evidence.read_text()
    evidence.write_text("{}")
    try:
        with pytest.raises(EvidenceMissing, match=r"evidence\.json"):
            run(folder, tmp_path / "verdict")
    finally:
        evidence.write_text(kept)


@pytest.mark.parametrize(
    ("before", "after"), [('"overall": "INC', '"overall": "YES, INC'), ('"digests"', '"digest"'), ("{", "")]
)
def test_a_verdict_that_was_tampered_with_is_not_read(folder: Path, tmp_path: Path, before: str, after: str) -> None:
    file = run(folder, tmp_path / "verdict") / "verdict.json"
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(EvidenceMissing, match=r"verdict\.json"):
        read_verdict(file)
