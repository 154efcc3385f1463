"""An approval counts when everything about it holds; each way in which it does not is named."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks.approvals import (
    APPROVAL,
    approvals_of,
    bound_by,
    enter_approval,
    found_in,
    missing_approvals,
    new_approval,
    read_pasted,
    why_not,
)
from tasks.digests import sha256_text
from tasks.errors import BadInput
from tasks.ledger import Entry, Ledger
from tasks.roles import Roles, load_roles
from tasks.signatures import is_signed, new_key, public_text, read_key, sign
from tests.signers import MAY, NOW, decide, key_of, person, roles_of

ADA, CAI = person("ada", "compliance"), person("cai", "steward", "compliance")
PEOPLE = roles_of(ADA, CAI, person("bob", "compliance"), person("dee", "data science"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def approve(ledger: Ledger, decision: Entry, name: str, roles: Roles = PEOPLE) -> Entry:
    body = new_approval(decision, ledger.read("pets"), roles, key_of(name), "looked at it", NOW)
    return enter_approval(ledger, decision, body, roles)


def missing(ledger: Ledger, decision: Entry, roles: Roles = PEOPLE, now: dt.datetime = NOW) -> list[str]:
    return missing_approvals(decision, ledger.read("pets"), roles, bound_by(decision), now)


def test_missing_approvals_are_named_with_the_way_until_each_role_has_approved(ledger: Ledger) -> None:
    decision = decide(ledger, ["compliance", "steward"])
    compliance, steward = missing(ledger, decision)
    assert compliance == (
        "compliance has not approved decision 1: ada or cai can, with "
        '`keel approve 1 --project pets --key FILE --why "..."`'
    )
    assert steward.startswith("steward has not approved decision 1: cai can, ")
    approve(ledger, decision, "ada")
    assert missing(ledger, decision) == [steward]
    approve(ledger, decision, "cai")
    assert missing(ledger, decision) == []
    given = approvals_of(decision, ledger.read("pets"), PEOPLE, bound_by(decision), NOW)
    assert {role: entry.body["by"] for role, entry in given.items()} == {"compliance": "ada", "steward": "cai"}


def test_nobody_to_approve_is_said_and_a_decision_that_asks_nobody_misses_nothing(ledger: Ledger) -> None:
    assert missing(ledger, decide(ledger)) == []
    line = missing(ledger, decide(ledger, ["compliance"]), roles_of())[0]
    assert "lists nobody with that role beside the author; `keel key new PATH` makes a key" in line


def resign(old: Entry, name: str = "ada", /, **changes: Any) -> dict[str, Any]:
    body = {key: value for key, value in old.body.items() if key != "signature"}
    return sign(APPROVAL, "pets", body | changes, key_of(name))


LATER = (NOW + dt.timedelta(days=31)).isoformat()
VOID: dict[str, tuple[Callable[[Entry], dict[str, Any]], str]] = {
    "edited": (lambda e: e.body | {"why": "all is well"}, "its signature is not ada's"),
    "by another key": (lambda e: resign(e, "cai"), "its signature is not ada's"),
    "unsigned": (lambda e: {k: v for k, v in e.body.items() if k != "signature"}, "its signature is not ada's"),
    "spoilt": (lambda e: e.body | {"signature": "?"}, "its signature is not ada's"),
    "of another kind": (
        lambda e: sign("waiver", "pets", {k: v for k, v in e.body.items() if k != "signature"}, key_of("ada")),
        "its signature is not ada's",
    ),
    "empty": (lambda e: {"decision": 1}, "it lacks by, role, why, at, until"),
    "unknown person": (lambda e: resign(e, "eve", by="eve"), "governance/roles.yaml lists nobody called eve"),
    "author": (lambda e: resign(e, "bob", by="bob"), "bob made the decision, and an author cannot approve"),
    "role not held": (lambda e: resign(e, role="steward"), "ada does not hold the role steward"),
    "role not asked": (
        lambda e: resign(e, "dee", by="dee", role="data science"),
        "the plan did not ask for data science",
    ),
    "another entry": (lambda e: resign(e, entry="0" * 64), "it is bound to other evidence than that of decision 1"),
    "another model": (
        lambda e: resign(e, bound=e.body["bound"] | {"model": "0" * 64}),
        "it is bound to other evidence than that of decision 1",
    ),
    "too long": (lambda e: resign(e, until=LATER), "it runs longer than the 30 days of the plan"),
    "ahead of time": (lambda e: resign(e, at=LATER), "after it was entered"),
    "no date": (lambda e: resign(e, until="soon"), "its times cannot be read"),
}


@pytest.mark.parametrize("case", list(VOID))
def test_an_approval_that_does_not_hold_counts_for_nothing_by_name(ledger: Ledger, case: str) -> None:
    change, said = VOID[case]
    decision = decide(ledger, ["compliance"])
    sound = approve(ledger, decision, "ada")
    assert why_not(sound, decision, PEOPLE, bound_by(decision), NOW) is None
    void = Entry(2, sound.at, APPROVAL, "pets", change(sound), "", "")
    first, second = missing_approvals(decision, [decision, void], PEOPLE, bound_by(decision), NOW)
    assert first.startswith("compliance has not approved decision 1")
    assert second.startswith("the approval of entry 2 by ")
    assert said in second
    with pytest.raises(BadInput, match="this approval would not count: "):
        enter_approval(ledger, decision, void.body, PEOPLE)


def test_it_runs_out_and_falls_with_any_digest_role_or_person_that_changes(ledger: Ledger) -> None:
    decision = decide(ledger, ["compliance"], days=30)
    entry = approve(ledger, decision, "ada")
    found = bound_by(decision)
    assert why_not(entry, decision, PEOPLE, found, NOW + dt.timedelta(days=29)) is None
    late = why_not(entry, decision, PEOPLE, found, NOW + dt.timedelta(days=30, minutes=1))
    assert late == f"it ran out on {NOW + dt.timedelta(days=30):%Y-%m-%d}"
    for name in found:
        assert why_not(entry, decision, PEOPLE, found | {name: "0" * 64}, NOW) == f"{name} changed since"
    reduced = roles_of(ADA, approve=["steward"])
    assert why_not(entry, decision, reduced, found, NOW) == "the role compliance may not approve"
    gone = roles_of(ADA | {"until": NOW.date() - dt.timedelta(days=1)})
    assert why_not(entry, decision, gone, found, NOW) == f"ada's key counted until {gone.people[0].until}"


def test_one_person_stands_for_one_role_and_approves_once(ledger: Ledger) -> None:
    decision = decide(ledger, ["steward", "compliance"])
    first = approve(ledger, decision, "cai")
    with pytest.raises(BadInput, match=r"cai approved already, as steward \(entry 2\)"):
        approve(ledger, decision, "cai")
    ledger.append(APPROVAL, "pets", resign(first, "cai", role="compliance"))  # written past the door
    assert missing(ledger, decision)[0].startswith("compliance has not approved decision 1: ada or cai can")


@pytest.mark.parametrize(
    ("name", "verdict", "asked", "said"),
    [
        ("bob", "PASS", ["compliance"], "bob made decision 1; somebody else must approve it"),
        (
            "eve",
            "PASS",
            ["compliance"],
            "this key is nobody's in governance/roles.yaml, which lists ada, bob, cai, dee",
        ),
        ("dee", "PASS", ["compliance"], "dee holds data science; to approve takes compliance"),
        ("ada", "FAIL", ["compliance"], "decision 1 is FAIL; only a PASS can be approved"),
        ("ada", "PASS", None, "decision 1: nobody is asked; a plan's section `approval` asks for it"),
    ],
)
def test_what_would_not_count_is_refused_before_it_is_signed(
    ledger: Ledger, name: str, verdict: str, asked: list[str] | None, said: str
) -> None:
    decision = decide(ledger, asked, verdict=verdict)
    with pytest.raises(BadInput, match=said):
        approve(ledger, decision, name)
    assert len(ledger.read()) == 1


def test_a_decision_that_was_overtaken_is_not_approved(ledger: Ledger) -> None:
    old, _ = decide(ledger, ["compliance"]), decide(ledger, ["compliance"])
    with pytest.raises(BadInput, match="decision 1 was overtaken by decision 2"):
        approve(ledger, old, "ada")


def test_a_printed_approval_comes_back_whole_and_anything_else_is_refused(ledger: Ledger) -> None:
    decision, other = decide(ledger, ["compliance"], verdict="FAIL"), decide(ledger, ["compliance"])
    body = new_approval(other, ledger.read("pets"), PEOPLE, key_of("ada"), "straßentauglich", NOW)
    assert read_pasted(json.dumps(body, ensure_ascii=False), other) == body
    for text in ("", "{", "[]", '{"signature": "x"}', "null"):
        with pytest.raises(BadInput, match="is no approval; paste the whole line"):
            read_pasted(text, other)
    with pytest.raises(BadInput, match="for decision 2, not for decision 1"):
        read_pasted(json.dumps(body), decision)


def test_what_is_found_in_a_run_is_what_a_decision_binds(tmp_path: Path, ledger: Ledger) -> None:
    files = (
        "comparison/verdict.json",
        "latency/verdict.json",
        "verdict/verdict.json",
        "report/report.json",
        "model/model.safetensors",
        "predictions/predictions.parquet",
    )
    for name in ("plan.yaml", *files):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = found_in(tmp_path, tmp_path / "plan.yaml")
    assert found.keys() == bound_by(decide(ledger)).keys()
    assert found["model"] == sha256_text("model/model.safetensors")


def test_a_key_file_is_its_owners_alone_and_is_never_overwritten(tmp_path: Path) -> None:
    key = new_key(tmp_path / "me.pem")
    assert (tmp_path / "me.pem").stat().st_mode & 0o777 == 0o600
    again = read_key(tmp_path / "me.pem")
    assert is_signed("k", "p", sign("k", "p", {"a": 1}, again), public_text(key))
    with pytest.raises(BadInput, match="a key is never overwritten"):
        new_key(tmp_path / "me.pem")
    (tmp_path / "me.pem").chmod(0o640)
    with pytest.raises(BadInput, match=r"can be read by others \(mode 640\); `chmod 600"):
        read_key(tmp_path / "me.pem")


def test_what_is_no_ed25519_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read the key .*none\.pem: No such file.*`keel key new PATH` makes one"):
        read_key(tmp_path / "none.pem")
    rsa = generate_private_key(public_exponent=65537, key_size=1024)
    for content, said in (
        (b"hello", "is no private key in PEM"),
        (rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "not an ed25519 key"),
    ):
        (tmp_path / "key.pem").write_bytes(content)
        (tmp_path / "key.pem").chmod(0o600)
        with pytest.raises(BadInput, match=said):
            read_key(tmp_path / "key.pem")


HEAD = f"may: {json.dumps(MAY)}\n"
ENTRY = json.dumps(ADA)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("people: []\n", "may: Field required"),
        (HEAD + "people: []\nowner: x\n", "owner: Extra inputs"),
        (HEAD + "people: []\npeople: []\n", "key written twice: people"),
        (HEAD + f"people: [{json.dumps(ADA | {'roles': ['boss']})}]", "people.0.roles.0: Input should be 'steward'"),
        (HEAD + f"people: [{json.dumps(ADA | {'key': 'abc'})}]", "is no ed25519 public key of 32 bytes in base64"),
        (
            HEAD + f"people: [{ENTRY}, {json.dumps(ADA | {'name': 'eve'})}]",
            "the same key stands more than once, by ada, eve",
        ),
    ],
)
def test_roles_that_could_be_misread_do_not_load(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "roles.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"roles\.yaml") as error:
        load_roles(tmp_path / "roles.yaml")
    assert said in str(error.value)


def test_the_committed_roles_are_those_of_a_single_user_and_missing_ones_are_an_error(tmp_path: Path) -> None:
    roles = load_roles()
    assert roles.people == []
    assert roles.may.waive_block == roles.may.accept_risk == ["compliance"]
    with pytest.raises(BadInput, match="bring the file back from git"):
        load_roles(tmp_path / "roles.yaml")
