"""A verdict says which must-pass cases are gone since the last, and whether anybody knows why."""

from pathlib import Path

from flows.release import take_stock
from tasks.cases_gone import FORGOTTEN, cases_gone
from tasks.decision import render_decision
from tasks.digests import sha256_text
from tasks.forget_reports import ASKED, DONE, EXPIRED
from tasks.ledger import Ledger
from tasks.project import load_project
from tasks.registry import Registry
from tasks.verdict import Verdict
from tests.accepted_versions import body_of


def ledger(folder: Path) -> Ledger:
    """A decision on four cases; two were deleted after it, one of them because its time was over."""
    made = Ledger(f"sqlite:///{folder}/ledger.db")
    made.append("decision", "pets", {"cases": ["a", "b", "c", "d"]})
    for name, why in (("b", ASKED), ("c", EXPIRED)):
        made.append(DONE, "pets", {"why": why, "cases": [sha256_text(name)]})
    return made


def test_cases_gone_are_counted_by_why(tmp_path: Path) -> None:
    entries = ledger(tmp_path).read("pets")
    assert DONE == FORGOTTEN
    assert cases_gone(["a", "c", "d", "new"], entries) == (
        "1 must-pass case is gone since the last decision: 1 deleted on request"
    )
    assert cases_gone(["a"], entries) == (
        "3 must-pass cases are gone since the last decision: 1 deleted on request, 1 expired, 1 unexplained"
    )
    assert cases_gone(["a", "b", "c", "d", "new"], entries) is None


def test_it_is_said_once_and_the_first_decision_has_nothing_to_compare_with(tmp_path: Path) -> None:
    held = ledger(tmp_path)
    held.append("decision", "pets", {"cases": ["a", "d"]})
    assert cases_gone(["a", "d"], held.read("pets")) is None
    assert cases_gone(["a"], []) is None


def test_a_release_takes_stock_of_its_cases_beside_those_of_the_last_decision(in_use: Registry) -> None:
    about, verdict = load_project(Path("governance/projects/pets.yaml")), Verdict("PASS", "PASS: as drawn", ())
    Path("governance/risks.yaml").write_text("risks: []\n")
    in_use.ledger.append("decision", "pets", {"cases": ["00", "01", "02"]})
    stock = take_stock.fn(in_use, about, verdict, {}, None)
    assert stock["cases"] == ["00", "01"]
    assert stock["cases_gone"] == "1 must-pass case is gone since the last decision: 1 unexplained"


def test_the_decisions_page_says_it(tmp_path: Path) -> None:
    digests = dict.fromkeys(("verdict", "comparison_verdict", "latency_verdict"), "v")
    body = body_of("PASS", digests, "r") | {"risk_register": [], "cases_gone": "1 must-pass case is gone"}
    entry = Ledger(f"sqlite:///{tmp_path}/ledger.db").append("decision", "pets", body)
    assert "\n1 must-pass case is gone\n" in render_decision(entry, [])
