"""The rules of feedback: every key, and for each way to keep people's secrets the keys of that way alone."""

from pathlib import Path

import pytest
import yaml

from tasks.errors import BadInput
from tasks.feedback_rules import load_feedback_rules
from tasks.project import load_project

NOISE = {"method": "differential-privacy", "epsilon": 1, "delta": 1e-6, "reports_a_person": 3, "budget": 12}


def write(folder: Path, **changes: object) -> Path:
    document = yaml.safe_load(Path("governance/feedback.yaml").read_text())
    (folder / "feedback.yaml").write_text(yaml.safe_dump({**document, **changes}))
    return folder / "feedback.yaml"


def test_the_bundled_rules_load_by_way_of_the_project() -> None:
    rules = load_feedback_rules(load_project(Path("governance/projects/digits.yaml")).feedback)
    assert (rules.summary.method, rules.trend.nights) == ("k-anonymity", 7)


def test_noise_is_the_other_way(tmp_path: Path) -> None:
    rules = load_feedback_rules(write(tmp_path, summary={**NOISE, "reason": "r"}))
    assert (rules.summary.method, rules.summary.reason) == ("differential-privacy", "r")


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (NOISE, "reason: Field required"),
        ({**NOISE, "reason": "r", "budget": 0.5}, "a budget of 0.5 pays for no summary of epsilon 1"),
        ({**NOISE, "reason": "r", "least_people": 5}, "least_people: Extra inputs are not permitted"),
        ({"method": "k-anonymity", "least_people": 1, "reason": "r"}, "greater than or equal to 2"),
        ({"method": "none", "reason": "r"}, "does not match any of the expected tags"),
    ],
)
def test_rules_that_protect_nobody_or_say_too_much_are_refused(
    tmp_path: Path, summary: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        load_feedback_rules(write(tmp_path, summary=summary))
