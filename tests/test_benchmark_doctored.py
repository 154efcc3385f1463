"""The table of benchmarks/doctored.py: what counts as right, and that every doctoring changes what it says."""

import pytest

from benchmarks.doctored import CASES, HONEST, Case, Outcome, another, faults, line

CASE = Case("a test", lambda about: about, "FAIL", ("FAIL accuracy on test:",))


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome("PASS", ["FAIL accuracy on test: 80 %"], "1"), "ended with PASS, expected FAIL"),
        (Outcome("FAIL", ["FAIL accuracy on mirror: 60 %"], "1"), "no sentence says 'FAIL accuracy on test:'"),
        (Outcome("FAIL", ["FAIL accuracy on test: 80 %"], "2"), "champion is 2"),
        (Outcome("FAIL", ["FAIL accuracy on test: 80 %"], None), "champion is nobody"),
    ],
)
def test_a_case_is_right_by_verdict_sentence_and_champion_alone(outcome: Outcome, fault: str) -> None:
    assert [fault in said for said in faults(CASE, outcome)] == [True]
    assert "| **no** |" in line(CASE, outcome)


def test_a_right_case_shows_its_sentence() -> None:
    outcome = Outcome("FAIL", ["FAIL: 1 of 9", "FAIL accuracy on test: 80 %"], "1", 12.3)
    assert faults(CASE, outcome) == []
    assert line(CASE, outcome) == "| a test | FAIL | FAIL | yes | 12 | FAIL accuracy on test: 80 % |"


def test_only_the_honest_release_is_to_pass_and_every_case_says_why() -> None:
    assert HONEST.expected == "PASS"
    assert len({case.title for case in CASES}) == len(CASES) >= 12
    assert all(case.expected != "PASS" and case.said for case in CASES)


def test_another_label_is_never_the_right_one() -> None:
    assert all(another(str(digit)) != str(digit) for digit in range(10))
