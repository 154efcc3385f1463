"""The rules of the service: read whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import BadInput
from tasks.project import Project
from tasks.serving_rules import load_serving

BUNDLED = Path("governance/serving.yaml")


def test_the_bundled_rules_are_those_of_a_project_that_names_none() -> None:
    assert Project(name="pets", data=Path("data")).serving == BUNDLED
    assert load_serving(BUNDLED).follow.poll_seconds <= 5


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("rate", {"a_second": 0}, "rate.a_second"),
        ("keep", {"share": 1.5}, "keep.share"),
        ("keep", {"reason": " "}, "keep.reason"),
        ("guards", {"abstain_on": ["mood"]}, "guards.abstain_on"),
        ("log", {"sync": True}, "log.sync"),
        ("follow", {"poll_seconds": float("nan")}, "follow.poll_seconds"),
        ("follow", {"poll_seconds": float("inf")}, "follow.poll_seconds"),
        ("rate", {"burst": 31}, "rate.burst 31 or request.waiting 512 would always turn it away"),
    ],
)
def test_a_rule_that_is_wrong_or_unknown_is_named(
    tmp_path: Path, section: str, change: dict[str, Any], says: str
) -> None:
    document = yaml.safe_load(BUNDLED.read_text(encoding="utf-8"))
    document[section] |= change
    (file := tmp_path / "serving.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(BadInput, match=says):
        load_serving(file)


def test_every_section_is_needed(tmp_path: Path) -> None:
    document = yaml.safe_load(BUNDLED.read_text(encoding="utf-8"))
    for section in document:
        less = {key: value for key, value in document.items() if key != section}
        (file := tmp_path / "serving.yaml").write_text(yaml.safe_dump(less), encoding="utf-8")
        with pytest.raises(BadInput, match=section):
            load_serving(file)
