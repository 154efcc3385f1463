"""The flow of a rollback and its commands: by a person's word, by proof, and not at all."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest
from prefect import flow
from typer.testing import CliRunner

import flows.cli
from flows.rollback import Answer, roll_back_if_proved
from tasks.best_version import RollbackRules
from tasks.checkup import checkup
from tasks.incident import open_incident
from tasks.predict import score
from tasks.registry import Registry
from tasks.settings import settings
from tests.accepted_versions import PROJECT
from tests.small_model import write_pictures

pytestmark = pytest.mark.usefixtures("prefect_server")
CASES, PICTURES = Path("ground/cases"), Path("window")
RULES = RollbackRules(average_run_length=1000, cool_down_nights=3, least_labels=20, candidates=1, reason="for the test")
NIGHT = dt.date(2026, 6, 3)


def keel(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(flows.cli.app, [*words, "--project", PROJECT])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


@flow(name="night", validate_parameters=False)
def night(registry: Registry, images: pd.DataFrame, rules: RollbackRules) -> Answer:
    return roll_back_if_proved(registry, images, PICTURES, rules, NIGHT, "harm", CASES)


def fallback_line() -> list[tuple[bool, str]]:
    """What `keel doctor` says of it."""
    return [(trouble, said) for name, trouble, said in checkup(PROJECT, settings()) if name == "fallback"]


def labelled(model: Path, count: int = 40) -> pd.DataFrame:
    """A window of production images whose labels are what the model says."""
    table = write_pictures(PICTURES, count, seed=4).rename(columns={"file_name": "path"})
    table = table.assign(image_id=table["path"], unit=table["path"])
    return table.assign(label=score(PICTURES, table, model)["predicted"])


def wrong(answer: Answer) -> float:
    assert answer.choice is not None
    assert answer.choice.champion_loss is not None
    return answer.choice.champion_loss


def test_version_that_is_proved_better_is_put_back_and_the_next_move_is_a_persons(
    in_use: Registry, three_versions: Path
) -> None:
    models = three_versions / "ground"
    better = next(v for v in ("2", "1") if not says_the_same(models / "model2", models / f"model{int(v) - 1}"))
    images = labelled(models / f"model{int(better) - 1}")
    answer = night(in_use, images, RULES)
    assert wrong(answer) > 0.5
    assert answer.moved is not None
    assert in_use.aliases()["champion"] == answer.moved.body["version"] == better
    assert answer.moved.body["why"].startswith("harm; version ")
    assert answer.as_evidence()["rollback"] == answer.moved.number
    turned = images.assign(label=images["label"].map({"cat": "dog", "dog": "cat"}))
    again = night(in_use, turned, RULES)
    assert again.moved is None
    assert wrong(again) == 1
    assert in_use.aliases()["champion"] == better


def test_withdrawn_version_that_is_proved_better_is_named_to_the_person_who_may_put_it_back(
    in_use: Registry, three_versions: Path
) -> None:
    for version in ("2", "1"):
        assert keel("rollback", version, "--why", "for the test")[0] == 0
    models = three_versions / "ground"
    better = next(v for v in ("2", "3") if not says_the_same(models / "model0", models / f"model{int(v) - 1}"))
    answer = night(in_use, labelled(models / f"model{int(better) - 1}"), RULES)
    assert answer.moved is None
    assert answer.choice is not None
    assert answer.choice.version is not None
    assert "it is proved better, but version 1 became champion by the rollback of entry" in answer.sentence
    assert f"a person's to make: `keel rollback {answer.choice.version} --why ...`" in answer.sentence
    assert in_use.aliases()["champion"] == "1"


def says_the_same(one: Path, other: Path) -> bool:
    table = write_pictures(PICTURES, 40, seed=4).rename(columns={"file_name": "path"})
    table = table.assign(image_id=table["path"])
    return bool((score(PICTURES, table, one)["predicted"] == score(PICTURES, table, other)["predicted"]).all())


def test_champion_that_is_right_is_left_alone_and_thin_evidence_moves_nothing(
    in_use: Registry, three_versions: Path
) -> None:
    images = labelled(three_versions / "ground/model2")
    right = night(in_use, images, RULES)
    assert right.moved is None
    assert "no move: no accepted version does better than the champion" in right.sentence
    few = night(in_use, images.head(5), RULES)
    assert "there are 5 labelled images, and a move needs 20" in few.sentence
    assert in_use.aliases()["champion"] == "3"


def test_person_rolls_back_drills_and_reads_the_incident(in_use: Registry) -> None:
    before = "version 2, not rehearsed since version 3 is champion (`keel drill` does)"
    assert fallback_line() == [(False, before)]
    code, said = keel("drill")
    assert code == 0
    assert fallback_line()[0][1].startswith("version 2, rehearsed ")
    assert "a rollback of pets to version 2 would hold" in said
    assert "nothing was moved" in said
    assert in_use.aliases()["champion"] == "3"
    code, said = keel("rollback", "--why", " ")
    assert code == 1
    assert "needs a reason" in said
    open_incident(in_use, NIGHT, "harm", {}, "a person was asked", "3")
    code, said = keel("rollback", "--why", "it reads 7 as 1")
    assert code == 0
    assert "champion: version 2 of pets, in place of version 3" in said
    assert "all 2 must-pass cases" in said
    assert in_use.aliases() == {"champion": "2", "challenger": None, "previous": "3"}
    assert in_use.ledger.read(PROJECT)[-1].body["by_a_person"] is True
    code, said = keel("incident")
    assert code == 0
    page = Path(said.strip().splitlines()[-1])
    assert "version 2 put back in place of version 3" in page.read_text()
    code, said = keel("rollback", "v9", "--why", "a slip")
    assert code == 1
    assert "no decision on version 9" in said
    assert keel("audit")[0] == 0


def test_drill_without_anything_to_fall_back_on_fails(in_use: Registry) -> None:
    for version in ("2", "1"):
        assert keel("rollback", version, "--why", "for the test")[0] == 0
    code, said = keel("drill")
    assert code == 1
    assert "no earlier accepted version to fall back on" in said
    assert in_use.ledger.read(PROJECT, "drill")[-1].body["held"] is False
    assert fallback_line() == [(False, "no version that could be put back without a person's word")]
