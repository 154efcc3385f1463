"""Findings survive the file, and an unsound file is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import EvidenceMissing
from tasks.findings import Finding, index_findings, read_findings, write_findings

FINDING = Finding("accuracy", "mirror/condition=white on dark", 0.61, 0.55, 0.67, 260, 52, "wilson")


def test_findings_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = [FINDING, replace(FINDING, slice="test", level=0.9)]
    write_findings(written, tmp_path / "report.json")
    assert read_findings(tmp_path / "report.json") == written
    assert read_findings(tmp_path) == written  # the folder will do


def test_a_nan_is_stored_as_null_and_read_back_as_nan(tmp_path: Path) -> None:
    write_findings([replace(FINDING, value=math.nan, low=-math.inf)], tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())[0]["value"] is None
    [finding] = read_findings(tmp_path)
    assert math.isnan(finding.value)
    assert math.isnan(finding.low)
    assert not finding.is_number


def test_an_empty_report_is_valid_json(tmp_path: Path) -> None:
    write_findings([], tmp_path / "report.json")
    assert read_findings(tmp_path) == []


def test_findings_are_looked_up_by_metric_and_slice() -> None:
    index = index_findings([FINDING, replace(FINDING, metric="recall")])
    assert index["recall", FINDING.slice].metric == "recall"


def test_two_findings_with_one_key_are_refused() -> None:
    with pytest.raises(EvidenceMissing, match="two findings for accuracy on mirror/condition=white on dark"):
        index_findings([FINDING, replace(FINDING, value=0.99)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "0.9"}, "value is '0.9'"),
        ({"n": None}, "n is None"),
        ({"n": True}, "n is True"),
        ({"extra": 1}, "expected the keys metric, slice"),
        ({"value": 0.9}, "outside its own interval"),
    ],
)
def test_an_unsound_entry_is_refused_by_its_number(tmp_path: Path, change: dict, message: str) -> None:
    write_findings([FINDING], tmp_path / "report.json")
    rows = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps([rows[0] | change]))
    with pytest.raises(EvidenceMissing, match=rf"entry 0: .*{message}"):
        read_findings(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{]"])
def test_anything_but_a_list_of_findings_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(EvidenceMissing, match=r"report\.json.*run the stage evaluate"):
        read_findings(tmp_path)


def test_a_missing_report_is_missing_evidence(tmp_path: Path) -> None:
    with pytest.raises(EvidenceMissing, match="cannot read findings"):
        read_findings(tmp_path)
