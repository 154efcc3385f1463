"""A challenger on its way through its steps on a real registry: on, held, taken off, skipped, and killed in between."""

import dataclasses
import datetime as dt
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import flows.cli
from flows.rollout import abort, rollout, skip
from service.live import Follower
from tasks.audit_trail import audit
from tasks.emergency import EMERGENCY
from tasks.errors import BadInput, DigestMismatch, RegistryTrouble
from tasks.fallbacks import still_withdrawn
from tasks.history import deployments
from tasks.ledger import Entry
from tasks.places import log_place
from tasks.prediction_log import PredictionLog, add_labels
from tasks.registry import Change, Registry
from tasks.rollout import TAG, rollout_entries, standing, still_on_its_way
from tasks.shadow import ShadowState, advance_shadow
from tasks.watch import load_watch
from tests.accepted_versions import PROJECT, copy_project, local
from tests.night_entries import enter_night
from tests.rolled_out import NOON, night_of_answers, prepare_challenger, rules
from tests.signers import write_roles
from tests.small_checkout import working_in
from tests.small_nights import write_watch

pytestmark = pytest.mark.usefixtures("prefect_server")
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def prepared(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_challenger(three_versions, tmp_path_factory.mktemp("waiting") / "pets")


@pytest.fixture
def waiting(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Version 4 waits for its rollout; the folder is the working folder."""
    with working_in(copy_project(prepared, tmp_path / "pets")):
        monkeypatch.setenv("KEEL_STATE", str(tmp_path / "pets"))
        yield Registry(PROJECT, local(tmp_path / "pets"))


def run(days: int) -> Entry:
    entry = rollout(PROJECT, now=NOON + days * DAY)
    assert entry is not None
    return entry


def serve(registry: Registry, days: int, count: int = 100, labelled: int = 100, **how: Any) -> None:
    """A day's answers after noon, with labels for the first of them."""
    found = standing(registry)
    assert found is not None
    rows = night_of_answers(registry, NOON + days * DAY, count, found.share, found.salt, **how)
    written = PredictionLog(log_place())
    for row in rows:
        written.append(row)
    assert written.close().lost == 0
    write_labels(sorted({row.request_id for row in rows})[:labelled], "cat")


def write_labels(requests: list[str], label: str) -> None:
    rows = [{"request_id": r, "label": label, "labelled_at": NOON.isoformat(), "source": "clerk"} for r in requests]
    if rows:
        add_labels(log_place(), PROJECT, pd.DataFrame(rows))


def moves(registry: Registry) -> list[str]:
    return [entry.body["move"] for entry in rollout_entries(registry.ledger.read(PROJECT))]


def test_it_goes_from_shadow_over_its_shares_to_all_traffic_and_cannot_be_hurried(waiting: Registry) -> None:
    assert standing(waiting) is None
    assert run(0).body["move"] == "BEGIN"
    serve(waiting, 0)
    serve(waiting, 1)
    held = run(2)
    assert held.body["sentence"].startswith("version 4 at step shadow: HOLD: 2 of the step's 3 nights are over")
    assert run(2).number == held.number  # the same evidence, no second record
    assert run(3).body["to"] == "canary-5"
    found = standing(waiting)
    assert found is not None
    assert (found.kind, found.share, found.version) == ("canary", 0.05, "4")
    serve(waiting, 3, 400)
    assert run(4).body["to"] == "canary-25"
    after = standing(waiting)
    assert after is not None
    assert (after.share, after.salt) == (0.25, found.salt)
    serve(waiting, 4, 200, 200)
    last = run(5)
    assert last.body["move"] == "PROMOTE"
    assert waiting.aliases() == {"champion": "4", "previous": "3", "challenger": None}
    assert last.body["evidence"]["paired"] > 200
    assert standing(waiting) is None
    assert moves(waiting) == ["BEGIN", "HOLD", "ADVANCE", "ADVANCE", "PROMOTE"]
    assert rollout(PROJECT, now=NOON + 6 * DAY) is None
    assert [turn.version for turn in deployments(waiting.ledger.read(PROJECT))] == ["1", "2", "3", "4"]
    assert [line for line in audit(waiting) if line[1]] == []


def test_labels_count_once_and_missing_ones_are_asked_where_the_two_differ(waiting: Registry) -> None:
    run(0)
    serve(waiting, 0, labelled=0, wrong=0.1)
    held = run(4)
    assert "60 of the 60 labels that the step asks for are to come" in held.body["sentence"]
    asked = held.body["evidence"]["to_label"]
    assert asked == ["1102-9", "1102-8"]  # labels_to_ask of the rules is 2
    write_labels(asked, "dog")
    counted = run(4).body["evidence"]["errors"]
    assert (counted["labels"], counted["difference"]) == (2, -2)
    assert run(4).body["evidence"]["errors"] == counted


def test_challenger_that_errs_more_is_taken_off_withdrawn_and_does_not_come_back(waiting: Registry) -> None:
    run(0)
    for day in range(4):
        serve(waiting, day, wrong=0.4)
    ended = run(4)
    assert ended.body["move"] == "ABORT"
    assert "it errs more than the champion by more than 5 points" in ended.body["sentence"]
    assert ended.body["champion_answers"] == "as accepted"
    assert waiting.aliases() == {"champion": "3", "previous": "2", "challenger": None}
    assert "taken out of use by the aborted rollout" in still_withdrawn("4", waiting.ledger.read(PROJECT))[0]
    assert rollout(PROJECT, now=NOON + 5 * DAY) is None
    assert [line for line in audit(waiting) if line[1]] == []


def test_guard_ends_a_canary_whose_answers_fail_for_its_clients(waiting: Registry) -> None:
    write_watch(Path("governance/watch.yaml"), rollout=rules(steps=steps_without_labels()))
    run(0)
    serve(waiting, 0)
    assert run(1).body["to"] == "canary"
    serve(waiting, 1, 300, 0, error="out of memory", predicted="", label="")
    ended = run(2)
    assert ended.body["move"] == "ABORT"
    said = (
        "answers that failed: +100.0 points beside the champion's, at most +5 allowed, and it is shown to be over that"
    )
    assert said in ended.body["sentence"]


def steps_without_labels() -> list[dict[str, Any]]:
    shadow = {"name": "shadow", "kind": "shadow", "share": 0, "nights": 0, "labels": 0}
    return [shadow, {"name": "canary", "kind": "canary", "share": 0.3, "nights": 0, "labels": 0}]


def test_slow_canary_is_taken_off_and_one_with_few_requests_waits(waiting: Registry) -> None:
    write_watch(Path("governance/watch.yaml"), rollout=rules(steps=steps_without_labels()))
    run(0)
    serve(waiting, 0)
    run(1)
    held = run(1)
    assert any("0 of the 5 requests that it takes came in this step" in said for said in held.body["sentences"])
    serve(waiting, 1, 300, 300, latency_ms=30.0)
    assert "answers that took over 2 times the champion's p99" in run(2).body["sentence"]
    assert moves(waiting)[-1] == "ABORT"


def test_step_is_skipped_by_a_signature_that_counts_and_by_nothing_else(waiting: Registry, tmp_path: Path) -> None:
    run(0)
    with pytest.raises(BadInput, match="cannot read the key"):
        skip(PROJECT, "canary-25", "the old one leaks", tmp_path / "none.pem")
    keys = write_roles(Path("governance/roles.yaml"), tmp_path, ada=["compliance"], bob=["steward"])
    with pytest.raises(BadInput, match="to skip rollout takes compliance"):
        skip(PROJECT, "canary-25", "the old one leaks", keys["bob"])
    with pytest.raises(BadInput, match="promotion, not to 'shadow'"):
        skip(PROJECT, "shadow", "the old one leaks", keys["ada"])
    assert moves(waiting) == ["BEGIN"]
    skipped = skip(PROJECT, "canary-25", "the old one leaks", keys["ada"])
    assert "SKIP to step canary-25: the old one leaks (ada, compliance, entry" in skipped.body["sentence"]
    found = standing(waiting)
    assert found is not None
    assert found.step == "canary-25"
    assert [e.body["by"] for e in waiting.ledger.read(PROJECT, EMERGENCY)] == ["ada"]
    assert [line for line in audit(waiting) if line[1]] == []


def test_tag_that_was_set_by_hand_is_found_and_moves_nobody(waiting: Registry) -> None:
    run(0)
    found = standing(waiting)
    assert found is not None
    waiting.tag("4", {TAG: dataclasses.replace(found, step="canary-25", kind="canary", share=0.5).text()})
    with pytest.raises(
        RegistryTrouble, match=r"at step canary-25 by its tag keel\.rollout, at step shadow by the ledger"
    ):
        run(1)
    assert any("at step canary-25" in said for _, fault, said in audit(waiting) if fault)
    abort(PROJECT, "forged")
    assert waiting.aliases()["challenger"] is None


def test_tag_that_is_no_step_stops_neither_the_service_nor_an_abort(waiting: Registry, tmp_path: Path) -> None:
    run(0)
    found = standing(waiting)
    assert found is not None
    for text in ("{", dataclasses.replace(found, share=2.0).text(), dataclasses.replace(found, share="0.5").text()):  # type: ignore[arg-type]
        waiting.tag("4", {TAG: text})
        with pytest.raises(DigestMismatch, match="is no step of a rollout"):
            standing(waiting)
        follower = Follower(PROJECT, waiting.chosen, 1)
        assert (follower.live.champion.version, follower.live.challenger) == ("3", None)
        assert "is no step of a rollout" in follower.forged
        assert any("is no step of a rollout" in said for _, fault, said in audit(waiting) if fault)
    abort(PROJECT, "forged")
    assert waiting.aliases()["challenger"] is None


def test_rules_that_are_changed_on_the_way_begin_anew_and_none_let_nobody_in(waiting: Registry) -> None:
    run(0)
    for day in range(4):
        serve(waiting, day)
    assert run(3).body["to"] == "canary-5"
    watch = Path("governance/watch.yaml")
    write_watch(watch, rollout=rules(steps=rules()["steps"][:2], reason="another one"))
    again = run(4)
    assert (again.body["move"], again.body["to"], again.body["evidence"]) == ("BEGIN", "shadow", None)
    assert "the rules were changed since entry" in again.body["sentence"]
    assert run(4).body["move"] == "HOLD"
    write_watch(watch, rollout=rules(steps=[]))
    with pytest.raises(BadInput, match="have no steps any more"):
        run(4)
    lines = still_on_its_way("4", "3", waiting.ledger.read(PROJECT), load_watch(watch).rollout)
    assert "version 4 is at step shadow of a rollout" in lines[0]
    assert [line for line in audit(waiting) if line[1]] == []


def test_labels_of_an_earlier_step_count_for_the_rollout_and_not_for_the_step(waiting: Registry) -> None:
    run(0)
    serve(waiting, 0, labelled=60)
    assert run(3).body["to"] == "canary-5"
    write_labels([f"1102-{n}" for n in range(90, 100)], "cat")
    held = run(4)
    assert held.body["evidence"]["errors"]["labels"] == held.body["evidence"]["before"]["labels"] == 70
    assert "5 of the 5 labels that the step asks for are to come" in held.body["sentence"]


def begin_and_die(root: Path) -> None:
    """Begin a rollout and be killed between the tag and the entry that closes the change."""
    os.chdir(root)
    Change.close = lambda *_, **__: os._exit(9)  # type: ignore[method-assign]
    rollout(PROJECT, now=NOON)


def test_move_that_was_killed_is_put_back_and_made_by_the_next_run(waiting: Registry) -> None:
    child = multiprocessing.get_context("fork").Process(target=begin_and_die, args=(Path.cwd(),))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    assert standing(waiting) is not None  # the tag was moved, and nothing closed the change
    assert run(0).body["move"] == "BEGIN"
    assert moves(waiting) == ["BEGIN"]
    assert [e.kind for e in waiting.ledger.read(PROJECT)].count("undone") == 1
    assert [line for line in audit(waiting) if line[1]] == []


def test_nights_of_folders_are_the_evidence_of_a_shadow_where_no_service_answers(waiting: Registry) -> None:
    write_watch(Path("governance/watch.yaml"), rollout=rules(steps=rules()["steps"][:1]))
    run(0)
    assert run(4).body["move"] == "HOLD"
    ours, theirs = (waiting.version_tags(version)["model_digest"] for version in ("3", "4"))
    state = advance_shadow(ShadowState(champion=ours, challenger=theirs), *np.zeros((2, 300)), np.arange(300), 0.05)
    enter_night(
        waiting.ledger, "2026-11-04", "HEALTHY", shadow={"version": "4", "state": state.model_dump(mode="json")}
    )
    last = run(5)
    assert last.body["move"] == "PROMOTE"
    assert "by the windows of the nights" in last.body["sentence"]


def test_new_champion_ends_the_step_and_the_rollout_begins_anew(waiting: Registry) -> None:
    run(0)
    with waiting.alone(), waiting.change("restore", {"why": "for the test"}):
        waiting.set_aliases({"champion": "2", "previous": "3", "challenger": "4"})
    assert standing(waiting) is None
    again = run(1)
    assert again.body["move"] == "BEGIN"
    assert "version 4 beside version 3 is given up" in again.body["sentence"]


def test_release_says_where_the_version_is_and_the_command_shows_it(waiting: Registry) -> None:
    watch = load_watch(Path("governance/watch.yaml")).rollout
    assert (
        "has to go through the steps shadow, canary-5, canary-25 first"
        in still_on_its_way("4", "3", waiting.ledger.read(PROJECT), watch)[0]
    )
    run(0)
    assert "on its way through" in still_on_its_way("4", "3", waiting.ledger.read(PROJECT), watch)[0]
    assert "takes the place of version 4" in still_on_its_way("5", "3", waiting.ledger.read(PROJECT), watch)[0]
    shown = CliRunner().invoke(flows.cli.app, ["rollout", "--project", PROJECT])
    assert shown.exit_code == 0, shown.output
    assert "[shadow] -> canary-5 (5 % of the clients) -> canary-25 (25 % of the clients) -> promotion" in shown.output
    status = CliRunner().invoke(flows.cli.app, ["status", "--project", PROJECT]).output
    assert "version 4 is at step shadow since" in status
    ended = CliRunner().invoke(flows.cli.app, ["rollout", "abort", "--why", "not needed", "--project", PROJECT])
    assert "version 4 at step shadow: ABORT, withdrawn: not needed" in ended.output
    shown = CliRunner().invoke(flows.cli.app, ["rollout", "--project", PROJECT])
    assert "all traffic is version 3's" in shown.output


def test_version_that_may_not_be_let_in_waits_with_the_reason(waiting: Registry) -> None:
    run(0)
    abort(PROJECT, "for the test")
    decision = int(waiting.version_tags("4")["decision"])
    with waiting.alone(), waiting.change("confirm", {"version": "4", "decision": decision}):
        waiting.set_aliases({**waiting.aliases(), "challenger": "4"})
    held = run(1)
    assert held.body["move"] == "HOLD"
    assert "taken out of use by the aborted rollout" in held.body["sentence"]
    assert standing(waiting) is None
