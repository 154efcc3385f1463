"""Labels of the prediction log: told once, joined by request id, contradictions named."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import flows.cli
from tasks.errors import BadInput, DataRejected
from tasks.log_labels import read_label_list
from tasks.places import log_place
from tasks.prediction_log import add_labels, read_labels_of

AT = "2026-06-02T09:00"


def labels(*pairs: tuple[str, str], at: str = AT) -> pd.DataFrame:
    rows = [{"request_id": name, "label": label, "labelled_at": at, "source": "desk"} for name, label in pairs]
    return pd.DataFrame(rows)


def test_labels_are_written_once_and_read_by_request(tmp_path: Path) -> None:
    place = str(tmp_path)
    assert read_labels_of(place, "pets").empty
    assert add_labels(place, "pets", labels(("r1", "cat"), ("r2", "dog"))) == 2
    assert add_labels(place, "pets", labels(("r2", "dog"), ("r3", "dog"), at="2026-06-03T09:00+02:00")) == 1
    found = read_labels_of(place, "pets")
    assert dict(zip(found["request_id"], found["label"], strict=True)) == {"r1": "cat", "r2": "dog", "r3": "dog"}
    assert read_labels_of(place, "pets", ["r2"]).to_dict("records") == labels(("r2", "dog")).to_dict("records")
    assert read_labels_of(place, "birds").empty


def test_two_labels_of_one_request_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    place = str(tmp_path)
    add_labels(place, "pets", labels(("r1", "cat")))
    with pytest.raises(DataRejected, match="two labels for one request: r1"):
        add_labels(place, "pets", labels(("r2", "cat"), ("r1", "dog")))
    with pytest.raises(DataRejected, match="r3"):
        add_labels(place, "pets", labels(("r3", "cat"), ("r3", "dog")))
    assert len(read_labels_of(place, "pets")) == 1


@pytest.mark.parametrize(
    ("unsound", "said"),
    [
        (labels(("r1", " cat")), "padded"),
        (labels(("", "cat")), "empty or padded"),
        (labels(("r1", "cat"), at="yesterday"), "is no time"),
        (labels(("r1", "cat")).drop(columns="source"), "lack the column source"),
    ],
)
def test_unclear_labels_are_refused_by_name(unsound: pd.DataFrame, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        add_labels(str(tmp_path), "pets", unsound)
    assert not list(tmp_path.iterdir())


def test_a_list_of_labels_takes_the_classes_of_the_project_and_nothing_else(tmp_path: Path) -> None:
    (file := tmp_path / "desk.csv").write_text("request_id,label\nr1,7\nr2,seven\n")
    now = dt.datetime(2026, 6, 2, 9, tzinfo=dt.UTC)
    with pytest.raises(BadInput, match="labels that are no class: seven"):
        read_label_list(file, ["1", "7"], now)
    with pytest.raises(BadInput, match="cannot read"):
        read_label_list(tmp_path / "none.csv", None, now)
    file.write_text("request_id,label\nr1,7\n")
    assert read_label_list(file, ["7"], now).to_dict("records") == [
        {"request_id": "r1", "label": "7", "labelled_at": "2026-06-02T09:00:00+00:00", "source": "desk.csv"}
    ]


def test_the_command_puts_a_list_into_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path))
    (file := tmp_path / "desk.csv").write_text("request_id,label,source\nr1,7,desk A\nr2,3,desk A\n")
    for new in (2, 0):
        done = CliRunner().invoke(flows.cli.app, ["label", str(file)])
        assert done.output == f"{new} labels are new, {2 - new} were on record\n"
    assert list(read_labels_of(log_place(), "digits")["label"]) == ["7", "3"]
