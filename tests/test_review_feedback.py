"""A review turns a report into a label, a case or nothing, and says in the ledger which, without the user's words."""

from pathlib import Path

import pytest

from tasks.cases import read_cases
from tasks.digests import sha256_bytes, sha256_text
from tasks.errors import BadInput, EvidenceMissing
from tasks.feedback import CASE, LABEL, NEW, NOISE
from tasks.prediction_log import read_labels_of
from tasks.review_feedback import KIND, review
from tests.small_feedback import MARKER, PROJECT, World, picture, small_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("KEEL_ACTOR", "ann")
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "world/state"))
    return small_world(tmp_path / "world")


def settle(world: World, report: str, verdict: str, label: str | None = None, why: str = "seen it") -> list[str]:
    return review(world.store, world.ledger, world.about, world.place, report, verdict, why, label)


def test_a_label_goes_to_the_log_by_its_request(world: World) -> None:
    report = world.add(correct_label="dog", text=MARKER)
    settle(world, report, LABEL)
    labels = read_labels_of(world.place, PROJECT)
    (row,) = labels[["request_id", "label", "source"]].to_dict("records")
    assert row == {"request_id": "r-0", "label": "dog", "source": f"feedback {report}"}
    assert [p.name for p in world.cases.parent.glob("*.png")] == ["old.png"]


def test_a_case_is_the_image_of_the_log_with_where_it_comes_from(world: World) -> None:
    report = world.add(correct_label="dog", text=MARKER)
    done = settle(world, report, CASE, why="dogs are not cats")
    case = read_cases(world.cases.parent).set_index("case").loc[f"feedback-{report}"]
    assert (world.cases.parent / case["path"]).read_bytes() == picture(0)
    assert (case["label"], case["why"]) == ("dog", "dogs are not cats")
    assert case["provenance"] == f"feedback {report} of 2026-06-01"
    assert "dvc add" not in "".join(done)


def test_a_case_in_a_folder_under_dvc_says_how_to_record_the_version(world: World) -> None:
    (world.root.parent / "world.dvc").write_text("outs: []\n")
    done = settle(world, world.add(correct_label="dog"), CASE)
    assert f"`dvc add {world.root}`" in done[-1]
    assert (world.root.parent / "world.dvc").read_text() == "outs: []\n"


def test_the_ledger_says_who_made_what_of_which_image_and_nothing_that_was_written(world: World) -> None:
    reports = [world.add(f"r-{n}", correct_label="dog", text=MARKER) for n in range(3)]
    for report, verdict in zip(reports, (LABEL, CASE, NOISE), strict=True):
        settle(world, report, verdict, why="my reason")
    bodies = [entry.body for entry in world.ledger.read(PROJECT, KIND)]
    assert [(b["report"], b["as"], b["by"]) for b in bodies] == [
        (report, verdict, "ann") for report, verdict in zip(reports, (LABEL, CASE, NOISE), strict=True)
    ]
    assert [b["image"] for b in bodies] == [sha256_bytes(picture(0)), sha256_bytes(picture(1)), ""]
    assert bodies[0]["request"] == sha256_text("r-0")
    assert not {MARKER, "my reason", "r-0"} & {str(value) for b in bodies for value in b.values()}


@pytest.mark.parametrize(
    ("request_id", "verdict", "changes", "error", "said"),
    [
        ("r-3", CASE, {}, EvidenceMissing, "the log keeps no image of request r-3"),
        ("r-9", LABEL, {}, EvidenceMissing, "the log has no answer to request r-9"),
        ("r-0", LABEL, {"correct_label": "cow"}, BadInput, "names no class that the model knows; give --label"),
        ("r-0", "maybe", {}, BadInput, "a review says one of label, case, noise"),
    ],
)
def test_a_report_that_cannot_become_that_stays_new_and_leaves_nothing(
    world: World, request_id: str, verdict: str, changes: dict[str, str], error: type[Exception], said: str
) -> None:
    report = world.add(request_id, **{"correct_label": "dog", **changes})
    with pytest.raises(error, match=said):
        settle(world, report, verdict)
    assert world.store.find(PROJECT, report).state == NEW
    assert world.ledger.read(PROJECT, KIND) == []
    assert [p.name for p in world.cases.parent.glob("*.png")] == ["old.png"]


def test_a_reviewer_may_know_better_than_the_user_and_needs_a_reason(world: World) -> None:
    report = world.add(correct_label="cow")
    with pytest.raises(BadInput, match="and why"):
        settle(world, report, LABEL, "cat", why=" ")
    settle(world, report, LABEL, "cat")
    assert list(read_labels_of(world.place, PROJECT)["label"]) == ["cat"]
    with pytest.raises(BadInput, match=f"report {report} was settled as label by ann on "):
        settle(world, report, NOISE)


def test_a_review_that_was_cut_off_is_given_again_and_enters_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = world.add(correct_label="dog")

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(world.store), "review", cut_off)
        with pytest.raises(KeyboardInterrupt):
            settle(world, report, CASE)
    assert world.store.find(PROJECT, report).state == NEW
    settle(world, report, CASE)
    assert world.store.find(PROJECT, report).state == CASE
    assert len(world.ledger.read(PROJECT, KIND)) == 1
    assert list(read_cases(world.cases.parent)["case"]) == [f"feedback-{report}", "old"]
