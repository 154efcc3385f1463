"""Putting a version back: verified, recorded, and undone by the same means; who may be put back, and who may not."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from tasks.audit_trail import audit
from tasks.best_version import RollbackRules
from tasks.decision import version_tags
from tasks.errors import BadInput, DigestMismatch, RegistryTrouble
from tasks.fallbacks import DRILL, fallbacks, refuse_target, still_withdrawn, why_by_hand, withdrawal_of
from tasks.history import changelog, why
from tasks.ledger import Entry
from tasks.project import load_project
from tasks.registry import Registry
from tasks.restore import rehearse, restore
from tasks.score_versions import score_versions
from tasks.summary import status_lines
from tests.accepted_versions import PROJECT, accept, decide
from tests.small_model import write_guard, write_model

GROUND, CASES = Path("ground"), Path("ground/cases")
THREE = {"champion": "3", "challenger": None, "previous": "2"}
RULES = RollbackRules(average_run_length=1000, cool_down_nights=3, least_labels=30, candidates=1, reason="for the test")


def entries(registry: Registry) -> list[Entry]:
    return registry.ledger.read(PROJECT)


def faults(registry: Registry) -> list[str]:
    return [sentence for _, at_fault, sentence in audit(registry) if at_fault]


def relabel(wrong: int) -> None:
    """Give the first `wrong` cases the other label."""
    head, *rows = (CASES / "cases.csv").read_text().splitlines()
    for place in range(wrong):
        name, label, *rest = rows[place].split(",")
        rows[place] = ",".join([name, "dog" if label == "cat" else "cat", *rest])
    (CASES / "cases.csv").write_text("\n".join([head, *rows]) + "\n")


def test_version_is_put_back_and_the_one_that_was_left_can_be_too(in_use: Registry) -> None:
    assert in_use.aliases() == THREE
    moved = restore.fn(in_use, "2", "it reads 7 as 1", {"gain": 0.08}, CASES)
    assert in_use.aliases() == {"champion": "2", "challenger": None, "previous": "3"}
    assert moved.body["moved"] == {"champion": "2", "previous": "3"}
    assert (moved.body["left"], moved.body["by_a_person"]) == ("3", False)
    assert moved.body["smoke"]["cases"] == 2
    assert moved.body["smoke"]["apart"] < 1e-4
    intent = next(e for e in entries(in_use) if e.number == moved.body["intent"])
    assert intent.body["evidence"] == {"gain": 0.08}
    assert faults(in_use) == []
    back = restore.fn(in_use, "3", "false alarm", {}, CASES, by="ada")
    assert in_use.aliases() == THREE
    assert (back.body["by"], back.body["by_a_person"]) == ("ada", True)
    assert faults(in_use) == []


def test_version_that_was_left_comes_back_by_itself_only_after_a_newer_decision(in_use: Registry) -> None:
    assert fallbacks(entries(in_use)) == ["2", "1"]
    assert fallbacks(entries(in_use), most=0) == ["2"]
    moved = restore.fn(in_use, "2", "harm", {}, CASES)
    left = withdrawal_of("3", entries(in_use))
    assert left is not None
    assert left.number == moved.number
    assert fallbacks(entries(in_use)) == ["1"]
    same = tie("3", decide(in_use, GROUND, 2, CASES), in_use)
    said = still_withdrawn("3", entries(in_use))[0]
    assert f"by the rollback of entry {moved.number}, and decision {same.number} on it rests on the same images" in said
    assert fallbacks(entries(in_use)) == ["1"]
    tie("3", decide(in_use, GROUND, 2, CASES, manifest="with the images that did harm"), in_use)
    assert still_withdrawn("3", entries(in_use)) == []
    assert withdrawal_of("3", entries(in_use)) is None
    assert fallbacks(entries(in_use)) == ["3", "1"]


def tie(version: str, decision: Entry, registry: Registry) -> Entry:
    """Let a registered version name a later decision, as a release does."""
    with registry.alone(), registry.change("confirm", {"version": version, "decision": decision.number}):
        registry.tag(version, version_tags(decision))
    return decision


def test_rollback_of_a_rollback_and_one_soon_after_another_are_a_persons_to_make(in_use: Registry) -> None:
    night = dt.datetime.now(dt.UTC).date()
    assert why_by_hand(entries(in_use), RULES, night, "2") is None
    restore.fn(in_use, "2", "harm", {}, CASES)
    said = why_by_hand(entries(in_use), RULES, night + dt.timedelta(days=400), "2")
    assert said is not None
    assert "a rollback of a rollback is a person's to make" in said
    with in_use.alone(), in_use.change("promote", {"version": "1"}):
        in_use.set_aliases({"champion": "1", "previous": "2", "challenger": None})
    soon = why_by_hand(entries(in_use), RULES, night + dt.timedelta(days=2), "2")
    assert soon is not None
    assert "was 2 nights ago and the rules ask for 3" in soon
    assert why_by_hand(entries(in_use), RULES, night + dt.timedelta(days=3), "2") is None


def test_history_and_status_tell_of_the_rollback(in_use: Registry) -> None:
    moved = restore.fn(in_use, "2", "it reads 7 as 1", {}, CASES, by="ada")
    now = dt.datetime.now(dt.UTC)
    told = why(PROJECT, entries(in_use), now.isoformat(), now)
    assert "champion    version 2 of pets" in told
    assert "rollback    put back in place of version 3 by ada: it reads 7 as 1" in told
    newest = changelog(PROJECT, entries(in_use)).split("## ")[1]
    assert newest.startswith("Version 2 again")
    assert f"Rollback, entry {moved.number}: put back in place of version 3 by ada" in newest
    lines = status_lines(in_use, load_project(Path("governance/projects/pets.yaml")))
    assert f"withdrawn by the rollback of entry {moved.number}" in next(x for x in lines if x.startswith("previous"))


def test_refusals_between_the_last_release_and_a_rollback_stay_in_the_changelog(in_use: Registry) -> None:
    refused = decide(in_use, GROUND, 0, CASES, verdict="FAIL")
    restore.fn(in_use, "2", "harm", {}, CASES)
    assert f"Not released, decision {refused.number}" in changelog(PROJECT, entries(in_use))


def test_case_that_was_read_right_when_accepted_must_be_read_right_now(in_use: Registry) -> None:
    relabel(1)
    before = len(entries(in_use))
    with pytest.raises(RegistryTrouble, match=r"accepted with 2 of today's must-pass cases and reads .* wrong now"):
        restore.fn(in_use, "2", "harm", {}, CASES)
    assert in_use.aliases() == THREE
    assert len(entries(in_use)) == before


def test_case_that_came_later_is_told_and_stops_nothing(in_use: Registry) -> None:
    new = next((GROUND / "data").glob("*.png"))
    (CASES / "later.png").write_bytes(new.read_bytes())
    row = pd.read_csv(CASES / "cases.csv").iloc[0]
    other = "dog" if row["label"] == "cat" else "cat"
    with (CASES / "cases.csv").open("a") as file:
        file.write(f"later.png,{other},2026-02-01,drawn,it came later\n")
    smoke = restore.fn(in_use, "2", "harm", {}, CASES).body["smoke"]
    assert (smoke["cases"], smoke["new_cases_missed"]) == (2, ["later"])


def test_version_whose_files_were_changed_is_not_put_back_and_a_drill_says_so(in_use: Registry) -> None:
    source = in_use.client.get_model_version_download_uri(PROJECT, "2").removeprefix("file://")
    file = next(Path(source).rglob("golden.parquet"))
    content = file.read_bytes()
    try:
        file.write_bytes(content + b" ")
        before = len(entries(in_use))
        with pytest.raises(DigestMismatch, match="is not what was registered in entry"):
            restore.fn(in_use, "2", "harm", {}, CASES)
        assert len(entries(in_use)) == before
        drilled = rehearse.fn(in_use, "2", CASES)
        assert (drilled.kind, drilled.body["held"]) == (DRILL, False)
        assert "is not what was registered" in drilled.body["why_not"]
    finally:
        file.write_bytes(content)
    assert in_use.aliases() == THREE


def test_drill_does_all_but_move(in_use: Registry) -> None:
    drilled = rehearse.fn(in_use, "2", CASES).body
    assert (drilled["held"], drilled["champion"], drilled["version"]) == (True, "3", "2")
    assert drilled["smoke"]["golden"] == 5
    assert 0 < drilled["smoke"]["seconds"] < 60
    assert in_use.aliases() == THREE
    nothing = rehearse.fn(in_use, None, CASES).body
    assert (nothing["held"], nothing["why_not"]) == (False, "there is no earlier accepted version to fall back on")


def test_only_what_was_accepted_and_in_use_can_be_put_back(in_use: Registry) -> None:
    with pytest.raises(BadInput, match="version 3 of pets is champion already"):
        refuse_target("3", PROJECT, entries(in_use))
    with pytest.raises(BadInput, match="no decision on version 9"):
        refuse_target("9", PROJECT, entries(in_use))
    with pytest.raises(BadInput, match="pets has no champion"):
        refuse_target("2", PROJECT, [])
    write_guard(GROUND / "guard7", write_model(GROUND / "model7", 7))
    (GROUND / "predictions7").symlink_to("predictions2")
    accept(in_use, GROUND, 7, verdict="FAIL")
    with pytest.raises(BadInput, match=r"version 4 of pets was not accepted: decision \d+ on it says FAIL; .*: 1, 2"):
        refuse_target("4", PROJECT, entries(in_use))
    tie("4", decide(in_use, GROUND, 7, CASES), in_use)
    with pytest.raises(BadInput, match="version 4 of pets was never in use, so putting it there is a promotion"):
        restore.fn(in_use, "4", "harm", {}, CASES)
    assert fallbacks(entries(in_use)) == ["2", "1"]


def test_alias_that_was_moved_by_hand_is_put_right_first(in_use: Registry) -> None:
    in_use.client.set_registered_model_alias(PROJECT, "champion", "1")
    with pytest.raises(RegistryTrouble, match="champion of pets is version 1 in MLflow, the ledger says 3"):
        restore.fn(in_use, "2", "harm", {}, CASES)


def test_losses_are_the_wrong_answers_of_each_version(in_use: Registry, three_versions: Path) -> None:
    table = pd.read_parquet(three_versions / "ground/split/manifest.parquet").query("split == 'test'")
    losses = score_versions.fn(in_use, ["3", "1", "3"], three_versions / "ground/data", table.reset_index(drop=True))
    assert list(losses) == ["image_id", "unit", "3", "1"]
    for version, seed in (("3", 2), ("1", 0)):
        judged = pd.read_parquet(three_versions / f"ground/predictions{seed}/predictions.parquet")
        answers = judged.set_index("image_id").loc[table["image_id"], "predicted"]
        assert losses[version].to_list() == [float(a != b) for a, b in zip(answers, table["label"], strict=True)]
