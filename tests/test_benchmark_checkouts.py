"""Checkouts of a benchmark's own: what is copied, what is changed, and that one comes back out of them."""

import os
from pathlib import Path

import pytest
import yaml

from benchmarks import checkouts
from benchmarks.checkouts import QUICK, change_params, working_in, write_checkout
from tasks.errors import BadInput
from tasks.params import EvaluateParams, StressParams, load_section


def test_checkout_has_the_rules_and_nothing_that_another_one_made(tmp_path: Path) -> None:
    write_checkout(tmp_path, (), ("cases",))
    assert (tmp_path / "governance/plan.yaml").is_file()
    assert (tmp_path / "great_expectations").is_dir()
    for name in ("data", "governance/decisions", "governance/cases"):
        assert not (tmp_path / name).exists()


def test_data_that_was_never_fetched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "HERE", tmp_path)
    with pytest.raises(BadInput, match="`dvc pull` fetches it"):
        write_checkout(tmp_path / "copy", ("data",))


def test_changed_knobs_leave_the_others_as_they_are(tmp_path: Path) -> None:
    write_checkout(tmp_path, ())
    before = yaml.safe_load((tmp_path / "params.yaml").read_text())
    change_params(tmp_path, QUICK)
    after = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert after["stress"] == before["stress"] | QUICK["stress"]
    assert after["finetune"] == before["finetune"]
    assert load_section(EvaluateParams, tmp_path / "params.yaml", {}).resamples == 300
    assert load_section(StressParams, tmp_path / "params.yaml", {}).severities == [1, 3]


def fail_in(root: Path) -> None:
    with working_in(root):
        assert Path.cwd() == root
        assert os.environ["KEEL_STATE"] == str(root / "state")
        raise RuntimeError


def test_work_in_a_checkout_leaves_folder_and_environment_as_they_were(tmp_path: Path) -> None:
    folder, environment = Path.cwd(), dict(os.environ)
    with pytest.raises(RuntimeError):
        fail_in(tmp_path)
    assert (Path.cwd(), dict(os.environ)) == (folder, environment)
