"""What an auditor asks of a released project: was anything tampered with, does a verdict come out again, what was live.

One checkout with three decisions (released, not released, released) is made once; every tampering has a copy of it.
"""

import datetime as dt
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

import flows.cli
from flows.release import release
from flows.rollback import rollback
from tasks.audit_trail import audit
from tasks.bundle import BUNDLE, NEEDED
from tasks.difference import flips, load_side
from tasks.digests import sha256_file
from tasks.errors import BadInput, DigestMismatch
from tasks.history import aliases_after, deployments, live_on
from tasks.ledger import Ledger
from tasks.registry import Registry
from tasks.replay import replay
from tasks.settings import settings
from tasks.summary import find_decision
from tests.small_checkout import HERE, QUICK, working_in, write_plan, write_project

RECORDS = Path("governance/decisions/pets")


def params(seed: int) -> dict[str, object]:
    """The usual short training from another seed."""
    return {**QUICK, "finetune": {**QUICK["finetune"], "seed": seed}}


@pytest.fixture(scope="module")
def original(learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is released, the next plan leaves its verdict open; version 2 has more metadata and another seed."""
    root = tmp_path_factory.mktemp("audited") / "checkout"
    shutil.copytree(learnt, root)
    with working_in(root):
        write_plan(Path(), 0.6)
        assert release(project="pets").version == "1"
        write_plan(Path(), 0.6, minimum_n=10_000)
        assert release(project="pets").verdict == "INCONCLUSIVE"
        write_plan(Path(), 0.6)  # the plan of the first look, which alone can pass
        write_project(Path(), params=params(seed=2))
        pd.read_csv("pets/metadata.csv").assign(note="looked at").to_csv("pets/metadata.csv", index=False)
        assert release(project="pets").version == "2"
    return root


@pytest.fixture
def audited(original: Path, tmp_path: Path) -> Iterator[Registry]:
    """A copy of the released checkout as the working folder, whose MLflow points into the copy."""
    copy = tmp_path / "checkout"
    shutil.copytree(original, copy)
    with closing(sqlite3.connect(copy / "state/mlflow.db")) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info('{table}')").fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    replace = f"replace(\"{column}\", '{original}', '{copy}')"
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = {replace} WHERE "{column}" LIKE \'%{original}%\''
                    )
    with working_in(copy):
        yield Registry("pets", settings())


@pytest.fixture
def untouched(original: Path) -> Iterator[Registry]:
    """The released checkout itself, to look at."""
    with working_in(original):
        yield Registry("pets", settings())


def faults(registry: Registry) -> list[str]:
    return [f"{name}: {sentence}" for name, at_fault, sentence in audit(registry) if at_fault]


def decision(registry: Registry, place: int) -> str:
    return str(registry.ledger.read("pets", "decision")[place].number)


def artifact(registry: Registry, name: str, place: int = -1) -> Path:
    """Where MLflow's store keeps an artifact of a decision."""
    run = registry.client.get_run(registry.ledger.read("pets", "decision")[place].body["run"])
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


def in_ledger(*statements: str) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as database, database:
        for statement in ("DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete", *statements):
            database.execute(statement)


def test_clean_state_has_no_fault_and_every_area_is_looked_at(untouched: Registry) -> None:
    lines = list(audit(untouched))
    assert [line for line in lines if line[1]] == []
    assert [name for name, *_ in lines] == [
        "ledger",
        "changes",
        "records",
        "signatures",
        "rollout",
        "aliases",
        "versions",
        "runs",
        "artifacts",
    ]


def test_rollback_leaves_a_clean_audit_and_no_release_undoes_it(audited: Registry) -> None:
    moved = rollback(project="pets", why="it reads 7 as 1")
    assert audited.aliases() == {"champion": "1", "challenger": None, "previous": "2"}
    assert faults(audited) == []
    again = release(project="pets")
    assert again.version is None
    assert f"version 2 was taken out of use by the rollback of entry {moved.number}" in again.waiting[0]
    assert audited.aliases()["champion"] == "1"
    assert faults(audited) == []


def move_alias(registry: Registry) -> str:
    MlflowClient(registry.chosen.tracking_uri).set_registered_model_alias("pets", "champion", "1")
    return "aliases: champion is version 1, the ledger says 2: an alias was moved by hand; move it back in MLflow"


def edit_record(registry: Registry) -> str:
    file = next(RECORDS.glob("*-inconclusive.md"))
    file.write_text(file.read_text().replace("INCONCLUSIVE", "PASS", 1))
    return f"records: {file} is not what entry {decision(registry, 1)} of the ledger says (line 1: '# Decision "


def remove_record(registry: Registry) -> str:
    file = next(RECORDS.glob("*-inconclusive.json"))
    file.unlink()
    return f"records: {file} is missing; bring it back from git"


def invent_record(registry: Registry) -> str:
    shutil.copy(next(RECORDS.glob("*-pass.md")), RECORDS / "00099-pass.md")
    return f"records: {RECORDS}/00099-pass.md is the record of no decision in the ledger"


def replace_predictions(registry: Registry) -> str:
    """Five answers on test change sides."""
    file = artifact(registry, NEEDED["predictions"])
    manifest = pd.read_parquet(artifact(registry, NEEDED["manifest"]))
    table = pd.read_parquet(file)
    few = table["image_id"].isin(manifest.query("split == 'test'")["image_id"].head(5))
    table.loc[few, ["prob_cat", "prob_dog"]] = table.loc[few, ["prob_dog", "prob_cat"]].to_numpy()
    table.loc[few, "predicted"] = table.loc[few, "predicted"].map({"cat": "dog", "dog": "cat"})
    table.to_parquet(file, index=False)
    return f"artifacts: {NEEDED['predictions']} of MLflow run {file.parts[-5]} is not the one of decision "


def replace_artifact_and_listing(registry: Registry) -> str:
    listing = artifact(registry, BUNDLE)
    page = artifact(registry, "report.html")
    page.write_text("all is well")
    document = json.loads(listing.read_text())
    document["files"]["report.html"] = sha256_file(page)
    listing.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return f"artifacts: {BUNDLE} of MLflow run "


def remove_artifact(registry: Registry) -> str:
    artifact(registry, "report.html").unlink()
    return f"artifacts: decision {decision(registry, -1)}: report.html of MLflow run "


def remove_row(registry: Registry) -> str:
    in_ledger("DELETE FROM ledger WHERE number = 3")
    return "ledger: entry 3 is missing: the next one is 4; restore sqlite:////"


def edit_row(registry: Registry) -> str:
    in_ledger("UPDATE ledger SET body = replace(body, 'INCONCLUSIVE', 'PASS') WHERE kind = 'decision'")
    return f"ledger: entry {decision(registry, 1)} (decision, "


def spoil_row(registry: Registry) -> str:
    in_ledger("UPDATE ledger SET body = '{' WHERE number = 1")
    return "ledger: entry 1 of the ledger (plan, "


def forge_row(registry: Registry) -> str:
    last = registry.ledger.read()[-1]
    row = (
        last.number + 1,
        last.at,
        "done",
        "pets",
        '{"action":"promote","moved":{"champion":"1"}}',
        last.hash,
        "f" * 64,
    )
    in_ledger(f"INSERT INTO ledger VALUES {row}")
    return f"ledger: entry {last.number + 1} (done, {last.at}) was changed after it was written, or forged"


def replace_weights(registry: Registry) -> str:
    ours, theirs = (
        next(p for p in Path("state/mlartifacts").rglob("model.safetensors") if sha256_file(p) == digest)
        for digest in (registry.ledger.read("pets", "decision")[place].body["evidence"]["model"] for place in (0, -1))
    )
    shutil.copy(ours, theirs)
    return "versions: version 2 of pets: the weights that MLflow serves have sha256 "


def replace_code(registry: Registry) -> str:
    file = next(Path("state/mlartifacts").rglob("scorer.py"))
    file.write_text(file.read_text() + "\n# harmless\n")
    return "versions: version "


def edit_tag(registry: Registry) -> str:
    registry.client.set_model_version_tag("pets", "1", "data_version", "0" * 64)
    return f"versions: version 1 of pets: its tag data_version is '{'0' * 64}', the ledger says "


def register_by_hand(registry: Registry) -> str:
    registry.client.create_model_version("pets", "file:///somewhere")
    return "versions: version 3 of pets is in MLflow and not in the ledger"


def delete_run(registry: Registry) -> str:
    run = registry.ledger.read("pets", "decision")[1].body["run"]
    registry.client.delete_run(run)
    return (
        f"runs: MLflow run {run} of decision {decision(registry, 1)} was deleted; `mlflow runs restore --run-id {run}`"
    )


def edit_run(registry: Registry) -> str:
    run = registry.ledger.read("pets", "decision")[1].body["run"]
    registry.client.set_tag(run, "verdict", "PASS")
    return (
        f"runs: MLflow run {run} of decision {decision(registry, 1)}: its tag verdict is 'PASS', the ledger says 'INC"
    )


TAMPERINGS = [
    *(move_alias, edit_record, remove_record, invent_record, replace_predictions, replace_artifact_and_listing),
    *(remove_artifact, remove_row, edit_row, spoil_row, forge_row, replace_weights, replace_code),
    *(edit_tag, register_by_hand, delete_run, edit_run),
]


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_by_name_and_alone(audited: Registry, tamper: Callable[[Registry], str]) -> None:
    named = tamper(audited)
    found = faults(audited)
    assert len(found) == 1, "\n".join(found)
    assert found[0].startswith(named)


def test_removed_last_row_shows_in_what_it_left_behind(audited: Registry) -> None:
    in_ledger("DELETE FROM ledger WHERE number = (SELECT max(number) FROM ledger)")
    left, *said = faults(audited)  # the chain alone cannot show it
    assert left.startswith("changes: the promote of entry ")
    assert [sentence.split("/")[0] for sentence in said] == ["records: governance"] * 2
    assert "'* version 2 made champion; previous: version 1" in said[1]


def test_deleted_version_is_named_with_the_alias_that_it_took_along(audited: Registry) -> None:
    audited.client.delete_model_version("pets", "1")
    alias, version = faults(audited)
    assert alias.startswith("aliases: previous is version none, the ledger says 1")
    assert version.startswith("versions: version 1 of pets, registered in entry ")


def keel(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(flows.cli.app, [*words, "--project", "pets"])
    return done.exit_code, done.stdout, done.stderr


def test_audit_repairs_nothing_and_ends_with_1_when_anything_is_wrong(audited: Registry) -> None:
    assert keel("audit")[0] == 0
    entries = len(audited.ledger.read())
    move_alias(audited)
    audited.ledger.append("intent", "pets", {"action": "promote", "before": audited.aliases()})
    code, out, _ = keel("audit")
    assert (code, out.count("FAULT")) == (1, 1)
    assert "FAULT   changes" in out
    assert audited.aliases()["champion"] == "1"
    assert len(audited.ledger.read()) == entries + 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_decision_comes_out_identical(untouched: Registry, place: int) -> None:
    outcome = replay(untouched, untouched.ledger.read("pets", "decision")[place])
    assert (outcome.differences, outcome.notes) == ([], [])
    assert "identical: " in outcome.text()


def test_replay_needs_nothing_but_the_code_and_the_servers(original: Path, tmp_path: Path) -> None:
    clean = tmp_path / "elsewhere"
    for folder in ("tasks", "flows"):
        shutil.copytree(HERE / folder, clean / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (clean / "governance").mkdir()
    shutil.copy(HERE / "params.yaml", clean)
    servers = {
        "KEEL_STATE": str(clean / "state"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{original}/state/mlflow.db",
        "KEEL_LEDGER_URL": f"sqlite:///{original}/state/ledger.db",
    }
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "replay", "last", "--project", "pets"],
        cwd=clean,
        env={**os.environ, **servers, "PYTHONPATH": str(clean)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "identical: PASS" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "note:" not in done.stdout
    assert not any((clean / name).exists() for name in ("data", "runs", "backbones", "pets"))


def test_replay_names_a_replaced_artifact_and_the_first_finding_that_it_changes(audited: Registry) -> None:
    replace_predictions(audited)
    code, out, _ = keel("replay", "last")
    lines = out.splitlines()
    assert (code, len(lines)) == (1, 6)
    assert lines[1].startswith(f"DIFFERENT {NEEDED['predictions']} in MLflow is not the recorded one: its sha256 is ")
    assert "first accuracy on test, recorded 1 [" in lines[2]
    assert "recomputed 0.9375 [" in lines[2]
    assert lines[3].startswith("DIFFERENT verdict.json comes out with sha256 ")
    assert "first accuracy_gain_over_champion on test, recorded 0 [" in lines[4]
    assert lines[5].startswith("DIFFERENT comparison/verdict.json comes out with sha256 ")


@pytest.mark.parametrize(
    ("key", "content"),
    [("bundle", "[]"), ("bundle", "{"), ("predictions", "PAR1"), ("plan", "a: ["), ("manifest", None)],
)
def test_replay_of_artifacts_that_cannot_be_read_says_so(audited: Registry, key: str, content: str | None) -> None:
    file = artifact(audited, NEEDED[key])
    file.unlink() if content is None else file.write_text(content)
    said = replay(audited, find_decision(audited, "last")).differences
    assert len(said) == 2
    assert NEEDED[key] in said[0]
    assert said[1].startswith("nothing can be recomputed from these artifacts: ")


def test_replay_says_which_finding_was_rewritten_in_the_recorded_report(audited: Registry) -> None:
    file = artifact(audited, NEEDED["report"])
    file.write_text(file.read_text().replace('"value": ', '"value": 0.', 1))
    outcome = replay(audited, find_decision(audited, "last"))
    assert len(outcome.differences) == 1  # what is recomputed is what the ledger says
    assert outcome.differences[0].startswith(f"{NEEDED['report']} in MLflow is not the recorded one")


def test_replay_names_both_values_of_the_first_finding_that_comes_out_differently(
    audited: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.intervals.norm.ppf", lambda q: 2.5)  # as if the evaluators had become more careful
    said = replay(audited, find_decision(audited, "last")).differences
    assert len(said) == 4
    assert "first accuracy on " in said[0]
    assert ", recomputed " in said[0]
    assert said[1].startswith("verdict.json comes out with sha256 ")
    assert said[2].startswith("comparison/report.json comes out with sha256 ")
    assert said[3].startswith("comparison/verdict.json comes out with sha256 ")


def test_replay_says_when_the_code_is_not_that_of_the_record(
    untouched: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.replay.judging_code", lambda: {"report": "0" * 64})
    outcome = replay(untouched, find_decision(untouched, "last"))
    assert outcome.identical
    assert outcome.notes[0].startswith(f"today's code of tasks/report.py and what it imports is {'0' * 64}")


def test_unknown_decision_is_named_with_those_that_there_are(untouched: Registry) -> None:
    code, out, error = keel("replay", "99")
    assert (code, out) == (1, "")
    assert error.startswith(f"BadInput: pets has no decision '99'; its decisions: {decision(untouched, 0)}, ")


def test_ledger_alone_says_what_was_live_and_why(untouched: Registry) -> None:
    entries = untouched.ledger.read("pets")
    first, second = deployments(entries)
    assert (first.version, second.version, second.end) == ("1", "2", None)
    assert first.end == second.start
    assert aliases_after(entries) == untouched.aliases() == {"champion": "2", "challenger": None, "previous": "1"}
    code, out, _ = keel("why", first.start.at)
    body = next(entry for entry in entries if entry.kind == "decision").body
    assert (code, len(out.splitlines())) == (0, 9)
    assert f"champion    version 1 of pets, since {first.start.at}" in out
    assert f"until {second.start.at} (entry {second.start.number})" in out
    assert f"decision    {first.decision.number} by {body['by']}, " in out
    assert body["data"]["digest"] in out
    assert body["evidence"]["plan"] in out


def test_day_shows_every_champion_of_it_and_a_time_one(untouched: Registry) -> None:
    entries = untouched.ledger.read("pets")
    now = dt.datetime.now(dt.UTC)
    first, second = deployments(entries)
    at = second.start.at
    assert [d.version for d in live_on(entries, at, now)] == ["2"]
    before = (dt.datetime.fromisoformat(at) - dt.timedelta(milliseconds=1)).isoformat()
    assert [d.version for d in live_on(entries, before, now)] == ["1"]
    if first.start.at[:10] == at[:10]:  # unless midnight fell between the two
        assert [d.version for d in live_on(entries, at[:10], now)] == ["1", "2"]
    assert live_on(entries, "2020-01-01", now) == []
    assert "pets had no champion on 2020-01-01 (UTC); the first champion came " in keel("why", "2020-01-01")[1]


@pytest.mark.parametrize(
    ("when", "said"), [("yesterday", "is no date and no time; write 2026-11-25"), ("2999-01-01", "is still to come")]
)
def test_day_that_is_none_or_has_not_come_is_refused(untouched: Registry, when: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        live_on(untouched.ledger.read("pets"), when, dt.datetime.now(dt.UTC))


def test_version_that_is_tied_to_a_newer_decision_is_live_under_that_one(untouched: Registry, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    decided = {k: v for k, v in untouched.ledger.read("pets", "decision")[0].body.items() if k != "intent"}
    aliases = {"champion": None, "challenger": None, "previous": None}

    def change(action: str, end: dict[str, object], **about: object) -> None:
        intent = ledger.append("intent", "pets", {"action": action, "before": aliases, **about})
        ledger.append("done", "pets", {"action": action, "intent": intent.number, **end})

    older = ledger.append("decision", "pets", decided).number
    change("register", {"version": "1", "moved": {"challenger": "1"}}, decision=older)
    change("promote", {"moved": {"champion": "1", "challenger": None}}, version="1", decision=older)
    newer = ledger.append("decision", "pets", {**decided, "by": "another person"}).number
    change("confirm", {}, version="1", decision=newer)
    turns = deployments(ledger.read("pets"))
    assert [(t.version, t.decision.number) for t in turns] == [("1", older), ("1", newer)]
    assert turns[0].start == turns[1].start
    assert turns[0].end == turns[1].since


def test_changelog_tells_release_by_release_what_changed(untouched: Registry) -> None:
    code, out, _ = keel("changelog")
    assert (code, out.splitlines()[0]) == (0, "# Releases of pets")
    newest, oldest = out.split("\n## ")[1:]
    assert newest.startswith("Version 2, ")
    assert oldest.startswith("Version 1, ")
    assert "* **Data**: pets is not under DVC; digest of its files: " in newest
    assert "* **Model**: trained anew, before version 1; " in newest
    assert "* **Plan**: unchanged" in newest
    assert f"* Not released, decision {decision(untouched, 1)} of " in newest
    assert "* **Plan**: version 1, 2 criteria" in oldest


def test_changelog_of_a_project_without_releases_says_so(tmp_path: Path) -> None:
    with working_in(HERE):
        os.environ["KEEL_STATE"] = str(tmp_path)
        assert keel("changelog")[1].splitlines()[-1] == "None yet."


def test_diff_shows_data_params_figures_and_flips(untouched: Registry, tmp_path: Path) -> None:
    code, out, _ = keel("diff", "previous", "champion")
    assert code == 0
    assert out.startswith(f"pets: version 1 (decision {decision(untouched, 0)}) -> version 2 (decision ")
    assert "data        version 1: pets is not under DVC" in out
    assert "params      finetune/seed: 11 -> 2" in out
    row = next(line for line in out.splitlines() if line.startswith("accuracy on test "))
    assert row.count(" % [") == 2
    paired = next(line for line in out.splitlines() if line.startswith("test        accuracy "))
    judged = load_side(untouched, "1", tmp_path).table["split"].value_counts()
    assert f"on the same {judged['test']} images (" in paired
    assert out.count("right before and wrong now: ") == 2  # test and mirror


def test_shared_test_images_give_a_paired_difference_and_flips_per_class(untouched: Registry, tmp_path: Path) -> None:
    new = load_side(untouched, "2", tmp_path)
    table = new.table.assign(predicted=new.table["label"])  # every answer right
    test = table.index[table["split"] == "test"]
    cats = [i for i in test if table.at[i, "label"] == "cat"]
    old = type(new)("1", new.decision, new.params, new.findings, table.copy())
    old.table.loc[cats[:3], "predicted"] = "dog"
    now = type(new)("2", new.decision, new.params, new.findings, table.copy())
    now.table.loc[cats[3:5], "predicted"] = "dog"
    found = flips(old, now, "test")
    assert (found.won, found.lost, found.left_out) == ({"cat": 3}, {"cat": 2}, 0)
    assert found.gain is not None
    assert found.gain.value == pytest.approx(1 / len(test))
    assert found.gain.low < 0 < found.gain.high
    assert found.gain.method.startswith("tango")
    for other in (table.assign(label="hound"), table.assign(sha256="0")):
        apart = flips(type(new)("1", new.decision, new.params, new.findings, other), now, "test")
        assert (apart.gain, apart.left_out) == (None, 2 * len(test))


def test_diff_refuses_evidence_that_was_replaced(audited: Registry) -> None:
    replace_predictions(audited)
    with pytest.raises(DigestMismatch, match=r"predictions\.parquet of MLflow run .* is not the one of decision"):
        load_side(audited, "2", Path())
    assert keel("diff", "v1", "v2")[0] == 1


def test_ledger_whose_chain_is_broken_answers_for_nothing(audited: Registry) -> None:
    edit_row(audited)
    for words in (("why", "2026-01-01"), ("changelog",), ("diff", "v1", "v2")):
        code, out, error = keel(*words)
        assert (code, out) == (1, "")
        assert error.startswith(f"RegistryTrouble: entry {decision(audited, 1)} (decision, ")
    code, out, _ = keel("replay", "last")
    assert (code, out.count("DIFFERENT")) == (1, 1)
    assert f"DIFFERENT the ledger's entry {decision(audited, 1)} (decision, " in out
