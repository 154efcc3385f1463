"""A run that is killed at any step and started again ends with the bits of one that was not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.checkpoint import Checkpoints
from tasks.learner import GradualUnfreezing, Learner
from tests.conftest import REPOSITORY
from tests.small_training import PHASES, run

pytestmark = pytest.mark.usefixtures("own_state")


class Killed(BaseException):
    """Stands for a kill inside this process: nothing catches it, nothing is written after it."""


def run_killed_at(step: int, architecture: str, keep: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Run until the given step of the whole run has been taken and its checkpoint written."""
    taken = [0]
    finish = GradualUnfreezing.on_train_batch_end

    def count(self: GradualUnfreezing, trainer: Any, module: Learner, *rest: Any) -> None:
        finish(self, trainer, module, *rest)
        taken[0] += 1
        if taken[0] == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(GradualUnfreezing, "on_train_batch_end", count)
        with pytest.raises(Killed):
            run(architecture, keep, **changes)


def assert_equal(first: torch.nn.Module, second: torch.nn.Module) -> None:
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("architecture", "steps"),  # four batches an epoch, epochs 2 + 3 + 2: 8 is the first opening
    [("test_resnet", (2, 8, 27)), ("test_convnext", (9, 15)), ("test_vit", (8, 15))],
)
def test_resume_is_bit_equal_within_a_phase_at_an_opening_and_in_the_last_epoch(
    architecture: str, steps: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when a checkpoint leaves out the optimizer, `step`, `place`, the losses of the epoch or the best weights.
    whole = run(architecture)
    for step in steps:
        keep = tmp_path / f"{step}"
        run_killed_at(step, architecture, keep, monkeypatch)
        again = run(architecture, keep)
        assert_equal(whole.net, again.net)
        assert again.curve.to_csv() == whole.curve.to_csv()
        assert again.notes == whole.notes


def test_resume_restores_average_drop_path_mixing_and_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails when the seed of a step is not set from its place, or when the average is left out of the checkpoint.
    options = {"ema": 0.9, "drop_path": 0.2, "mixup": 0.2, "cutmix": 0.5, "l2_sp": 0.01, "stop_level": 0.4}
    whole = run("test_convnext", **options)
    run_killed_at(10, "test_convnext", tmp_path, monkeypatch, **options)
    assert_equal(whole.net, run("test_convnext", tmp_path, **options).net)


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run("test_resnet", tmp_path)
    second = run("test_resnet", tmp_path)
    assert_equal(first.net, second.net)
    assert second.seconds < first.seconds / 2


def test_killed_process_goes_on_bit_equal(tmp_path: Path) -> None:
    """SIGKILL from outside, at a moment drawn at random; `python -m benchmarks.resume` does it twenty times."""
    state = {"KEEL_STATE": str(tmp_path / "state"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    moments = random.Random(0)

    def start(keep: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **state, "ARCHITECTURE": "test_resnet", "KEEP": str(keep)}
        return subprocess.Popen([sys.executable, "-m", "tests.small_training"], env=environment, cwd=REPOSITORY)

    whole = run("test_resnet").net.state_dict()
    keep = tmp_path / "killed"
    process = start(keep)
    while process.poll() is None and not newest(keep):
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start(keep)
    assert process.wait() == 0
    killed = load_file(keep / "end.safetensors")
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())


def newest(folder: Path) -> str:
    return max((file.name for file in folder.glob("*.json")), default="")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    kept = Checkpoints(tmp_path / "kept", "run A")
    for number in range(4):
        kept.save({"weights": torch.full((3,), float(number))}, {"step": number})
    return kept


def test_newest_checkpoint_is_read_and_old_ones_are_removed(checkpoints: Checkpoints) -> None:
    tensors, facts = checkpoints.load() or ({}, {})
    assert facts == {"step": 3}
    assert torch.equal(tensors["weights"], torch.full((3,), 3.0))
    names = sorted(f.name for f in checkpoints.folder.iterdir())
    assert names == ["000003.json", "000003.safetensors", "000004.json", "000004.safetensors"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "000004.safetensors").write_bytes(b"short"), "its tensors are not what was written"),
        (lambda f: (f / "000004.safetensors").unlink(), "No such file"),
        (lambda f: (f / "000004.json").write_text('{"run": "run A"'), "Expecting"),
        (lambda f: (f / "000004.json").write_text("{}"), "sha256"),
        (
            lambda f: (f / "000004.json").write_text((f / "000004.json").read_text().replace('"step": 3', '"step": 9')),
            "its facts are not what was written",
        ),
    ],
)
def test_torn_checkpoint_is_refused_by_name_and_the_one_before_is_used(
    checkpoints: Checkpoints, spoil: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(checkpoints.folder)
    _, facts = checkpoints.load() or ({}, {})
    assert facts == {"step": 2}
    assert "000004.json is refused" in caplog.text
    assert said in caplog.text


def test_checkpoint_of_another_run_is_refused(checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture) -> None:
    assert Checkpoints(checkpoints.folder, "run B").load() is None
    assert "it belongs to another run" in caplog.text


def test_changed_learning_rate_does_not_go_on_from_the_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_killed_at(5, "test_resnet", tmp_path, monkeypatch)
    again = run("test_resnet", tmp_path, layer_decay=0.9, phases=PHASES[:1])
    assert "it belongs to another run" in caplog.text
    assert_equal(again.net, run("test_resnet", layer_decay=0.9, phases=PHASES[:1]).net)


def test_half_written_checkpoint_leaves_the_ones_before(checkpoints: Checkpoints, tmp_path: Path) -> None:
    (checkpoints.folder / "000005.safetensors").write_bytes(b"no facts yet")
    (checkpoints.folder / "000005.json.partial").write_text("{")
    assert (checkpoints.load() or ({}, {}))[1] == {"step": 3}
    shutil.rmtree(checkpoints.folder)
    assert checkpoints.load() is None
