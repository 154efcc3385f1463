"""From a PASS to a promotion by way of people: nothing moves without them, and the audit looks at all they signed.

One checkout goes through it: a waiver, a release that waits, its approval, an accepted risk, a crash, the promotion.
"""

import datetime as dt
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import flows.cli
from flows.release import clear, release
from tasks.approvals import APPROVAL
from tasks.audit_trail import audit
from tasks.decision import FOLDER
from tasks.ledger import Entry
from tasks.project import load_project
from tasks.registry import Registry
from tasks.replay import replay
from tasks.settings import settings
from tasks.verdict import read_verdict
from tests.signers import write_roles
from tests.small_checkout import working_in, write_plan

PLAN, ROLES, RISKS = Path("governance/plan.yaml"), Path("governance/roles.yaml"), Path("governance/risks.yaml")
PROJECT = Path("governance/projects/pets.yaml")
UNTIL = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=9)).isoformat()
RISK = {"id": "lens", "project": "pets", "what": "A new lens.", "level": "high", "status": "open", "owner": "desk"}


def keel(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(flows.cli.app, list(words))
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def write(path: Path, **changes: Any) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))


def released(actor: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEL_ACTOR", actor)
        return release(project="pets")


def faults(registry: Registry) -> list[str]:
    return [f"{name}: {sentence}" for name, at_fault, sentence in audit(registry) if at_fault]


def signed(registry: Registry, kind: str) -> Entry:
    return registry.ledger.read("pets", kind)[0]


def kill_in_the_middle(registry: Registry) -> None:
    """A promotion whose process dies after the first alias moved."""
    number = signed(registry, "decision").number
    about = {"action": "promote", "version": "1", "decision": number, "before": registry.aliases()}
    registry.ledger.append("intent", "pets", about)
    registry.client.set_registered_model_alias("pets", "champion", "1")


@pytest.fixture(scope="module")
def story(learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step said, by name; the checkout is left behind for a look."""
    root = tmp_path_factory.mktemp("signed") / "checkout"
    shutil.copytree(learnt, root)
    told: dict[str, Any] = {"root": root}
    with working_in(root):
        keys = write_roles(ROLES, root, ada=["compliance"], bob=["compliance"])
        RISKS.write_text(yaml.safe_dump({"risks": [RISK | {"review_by": dt.date(2099, 1, 1)}]}))
        write_plan(Path(), 0.6)
        criteria = yaml.safe_load(PLAN.read_text())["standard"]
        criteria[1]["minimum_n"] = 10_000  # the mirror cannot be assessed
        write(PLAN, standard=criteria, approval={"roles": ["compliance"], "valid_days": 30, "reason": "for the test"})
        words = ("mirror", "--project", "pets", "--until", UNTIL, "--why", "camera out")
        told["waived"] = keel("waive", *words, "--key", str(keys["ada"]))
        told["asked"] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KEEL_APPROVE_IN_UI", "1")
            patch.setattr("flows.release.wait_for_approvals", lambda _, decision: told["asked"].append(decision.number))
            told["waits"] = released("bob")
        registry = Registry("pets", settings())
        told["aliases"], told["record"] = registry.aliases(), next((FOLDER / "pets").glob("*.md")).read_text()
        told["status"] = keel("status", "--project", "pets")[1]
        told["risks"] = keel("risk", "list", "--project", "pets")[1]
        words = ("last", "--project", "pets", "--why", "figures and card read")
        told["by the author"] = keel("approve", *words, "--key", str(keys["bob"]))
        told["printed"] = keel("approve", *words, "--key", str(keys["ada"]), "--print")
        told["approved"] = keel("approve", *words, "--key", str(keys["ada"]))
        words = ("lens", "--project", "pets", "--why", "one desk")
        told["accepted"] = keel("risk", "accept", *words, "--key", str(keys["ada"]))
        kill_in_the_middle(registry)
        told["promoted"] = released("bob")
        told["promoted aliases"] = registry.aliases()
        told["why"] = keel("why", dt.datetime.now(dt.UTC).date().isoformat(), "--project", "pets")[1]
    return told


@pytest.fixture
def registry(story: dict[str, Any]) -> Iterator[Registry]:
    with working_in(story["root"]):
        yield Registry("pets", settings())


def test_a_pass_waits_for_the_approval_and_says_who_can_give_it_and_how(story: dict[str, Any]) -> None:
    outcome = story["waits"]
    assert (outcome.verdict, outcome.version) == ("PASS", None)
    assert outcome.waiting[:1] == [
        f"compliance has not approved decision {outcome.decision}: ada can, with "
        f'`keel approve {outcome.decision} --project pets --key FILE --why "..."`'
    ]
    assert story["asked"] == [outcome.decision]  # in Prefect's interface, where nobody answered
    assert story["aliases"] == {"champion": None, "challenger": "1", "previous": None}
    assert outcome.waiting[0] in story["status"]
    assert "Approval: asked of compliance." in story["record"]
    assert "* not promoted: approval is asked of compliance" in story["record"]


def test_the_command_prints_what_a_pass_waits_for(
    story: dict[str, Any], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.release.release", lambda **_: story["waits"])
    code, out = keel("release", "--project", "pets")
    assert code == 0
    said = ["nothing was promoted", *(f"  {line}" for line in story["waits"].waiting)]
    again = "  then `keel release --project pets` again promotes it; what is unchanged is kept"
    assert "\n".join([*said, again]) in out


def test_the_author_is_refused_and_printing_enters_nothing(story: dict[str, Any], registry: Registry) -> None:
    number = story["waits"].decision
    code, out = story["by the author"]
    assert (code, out) == (1, f"BadInput: bob made decision {number}; somebody else must approve it\n")
    assert story["printed"][1].startswith('{"decision": ')
    assert [e.body["by"] for e in registry.ledger.read("pets", APPROVAL)] == ["ada"]


def test_once_approved_the_release_promotes_what_a_crash_left_half_done(story: dict[str, Any]) -> None:
    code, out = story["approved"]
    assert code == 0
    assert "every approval is there; `keel release --project pets` promotes the model" in out
    outcome = story["promoted"]
    assert (outcome.decision, outcome.version, outcome.waiting) == (story["waits"].decision, "1", [])
    assert story["promoted aliases"] == {"champion": "1", "challenger": None, "previous": None}


def test_the_files_to_be_promoted_must_be_those_that_were_approved(story: dict[str, Any], registry: Registry) -> None:
    run, decision = Path("runs/pets"), signed(registry, "decision")
    about, verdict, report = load_project(PROJECT), read_verdict(run / "verdict"), run / "report/report.json"
    before = report.read_bytes()
    report.write_bytes(before + b"\n")
    not_yet = clear.fn(registry, about, run, verdict, decision, version="2")
    champion_by_this_decision = clear.fn(registry, about, run, verdict, decision, version="1")
    report.write_bytes(before)
    assert not_yet[1].endswith("by ada does not count: report changed since")
    assert champion_by_this_decision == clear.fn(registry, about, run, verdict, decision, version="2") == []


def test_record_and_history_name_the_approval(story: dict[str, Any], registry: Registry) -> None:
    (entry,) = registry.ledger.read("pets", APPROVAL)
    page = next((FOLDER / "pets").glob(f"{story['waits'].decision:05d}-*.md")).read_text()
    said = f"approved by ada as compliance (entry {entry.number}): figures and card read"
    assert f"* version 1 made champion; previous: none; {said} (ledger entry " in page
    day = entry.at[:10]
    given = f"given by ada as compliance on {day}, because figures and card read (entry {entry.number})"
    assert f"approval    asked of compliance; {given}\n" in story["why"]


def test_a_waived_criterion_lets_the_verdict_pass_by_name_and_the_figures_replay_without_it(
    story: dict[str, Any], registry: Registry
) -> None:
    assert story["waived"][0] == 0
    number = signed(registry, "waiver").number
    assert story["waits"].sentence == (
        "PASS: 1 blocking judgement, all met; 1 warning: accuracy on mirror; "
        f"mirror waived until {UNTIL} by ada (compliance), because camera out (entry {number})"
    )
    decision = signed(registry, "decision")
    assert decision.body["waivers"] == {"mirror": number}
    assert replay(registry, decision).differences == []
    assert '"overall": "INCONCLUSIVE"' in Path("runs/pets/verdict/verdict.json").read_text()


def test_an_open_high_risk_stops_the_promotion_until_it_is_accepted(story: dict[str, Any]) -> None:
    (line,) = story["waits"].waiting[1:]
    assert line.startswith(
        "high risk lens (desk): it is open; mitigate it and say so in governance/risks.yaml, or have"
    )
    assert story["risks"] == "STOPS  lens (high): A new lens. It is open; review by 2099-01-01\n"
    assert "## The risk register\n\n* lens (high): A new lens. It is open" in story["record"]
    assert story["accepted"][0] == 0
    assert story["promoted"].waiting == []


def test_audit_finds_nothing_wrong_with_what_was_signed(story: dict[str, Any], registry: Registry) -> None:
    assert faults(registry) == []


@pytest.fixture
def forgeries(registry: Registry, tmp_path: Path) -> Iterator[Registry]:
    """The ledger's database is put back afterwards."""
    registry.ledger.engine.dispose()
    shutil.copy("state/ledger.db", tmp_path)
    yield registry
    registry.ledger.engine.dispose()
    shutil.copy(tmp_path / "ledger.db", "state/ledger.db")


@pytest.mark.parametrize("kind", ["approval", "waiver", "acceptance"])
def test_audit_finds_an_entry_that_nobody_signed(story: dict[str, Any], forgeries: Registry, kind: str) -> None:
    body = signed(forgeries, kind).body | {"why": "because I say so"}
    forged = forgeries.ledger.append(kind, "pets", body)  # the chain of hashes holds
    assert faults(forgeries) == [
        f"signatures: the {kind} of entry {forged.number} by ada: its signature is not ada's; find out who wrote it; "
        "governance/roles.yaml says whose signature counts"
    ]


def test_audit_finds_an_edited_waiver_row(story: dict[str, Any], forgeries: Registry) -> None:
    number = signed(forgeries, "waiver").number
    with closing(sqlite3.connect("state/ledger.db")) as database, database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute(f"UPDATE ledger SET body = replace(body, '{UNTIL}', '2099-12-31') WHERE number = {number}")
    (fault,) = faults(forgeries)
    assert fault.startswith(f"ledger: entry {number} (waiver, ")


def test_audit_finds_a_promotion_without_an_approval_that_counts(story: dict[str, Any], registry: Registry) -> None:
    before = ROLES.read_text()
    try:
        write(ROLES, people=[p for p in yaml.safe_load(before)["people"] if p["name"] == "bob"])
        said = [f for f in faults(registry) if "was made without an approval that counts" in f]
    finally:
        ROLES.write_text(before)
    assert "compliance has not approved decision" in said[0]
    assert "does not count: governance/roles.yaml lists nobody called ada" in said[1]


def test_key_new_prints_what_to_add_to_the_roles(registry: Registry, tmp_path: Path) -> None:
    code, out = keel("key", "new", str(tmp_path / "me.pem"))
    lines = out.splitlines()
    added = yaml.safe_load("\n".join(lines[2:]))
    assert (code, set(added[0])) == (0, {"name", "roles", "key", "until"})
    assert (tmp_path / "me.pem").stat().st_mode & 0o777 == 0o600
    assert keel("key", "new", str(tmp_path / "me.pem"))[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["waive", "ghost", "--until", UNTIL], "the plan of pets has no criterion 'ghost'; it has test, mirror"),
        (["waive", "test", "--until", "soon"], "--until 'soon' is no date; write 2026-12-31"),
        (["waive", "test", "--until", UNTIL], "to waive it takes a signature (--key FILE) by compliance"),
        (["risk", "accept", "ghost", "--key", "k"], "has no risk 'ghost' of this project; it has lens"),
        (["approve", "77", "--key", "k"], "pets has no decision '77'"),
    ],
)
def test_a_wrong_word_is_named_and_nothing_is_entered(registry: Registry, words: list[str], said: str) -> None:
    before = len(registry.ledger.read())
    code, out = keel(*words, "--why", "w", "--project", "pets")
    assert (code, said in out) == (1, True), out
    assert len(registry.ledger.read()) == before
