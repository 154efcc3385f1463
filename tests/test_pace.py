"""How the way to run a network is chosen and remembered; the timing itself is replaced where its outcome is asked."""

import json
from pathlib import Path

import pytest
import timm
import torch

import tasks.pace
from tasks.pace import Pace, choose_pace
from tasks.params import TrainerParams
from tasks.unfreezing import frozen_tensors

CPU, SHAPE = torch.device("cpu"), (4, 3, 32, 32)
OPEN = TrainerParams(precision="auto", memory_format="auto", threads="auto")


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> list[Pace]:
    """Every way that is timed; a second each, less for bfloat16 and for more threads."""
    asked: list[Pace] = []

    def seconds(net: torch.nn.Module, shape: tuple[int, ...], device: torch.device, pace: Pace) -> float:
        asked.append(pace)
        return 1 - 0.3 * (pace.precision == "bf16-mixed") - 0.04 * (not pace.channels_last) - 0.2 * (pace.threads > 1)

    monkeypatch.setattr(tasks.pace, "_time", seconds)
    monkeypatch.setattr(tasks.pace.os, "cpu_count", lambda: 2)
    return asked


def test_what_pays_is_kept_and_a_near_tie_stays_plain(timings: list[Pace], tmp_path: Path) -> None:
    net = torch.nn.Linear(1, 1)
    assert choose_pace(net, SHAPE, CPU, OPEN, tmp_path / "pace.json") == Pace("bf16-mixed", True, 2)
    assert timings == [Pace(), Pace("32-true", False), Pace("bf16-mixed"), Pace("bf16-mixed", True, 2)]
    (kept,) = json.loads((tmp_path / "pace.json").read_text()).values()
    assert kept["images_per_second"]["32-true, channels last, 1 thread"] == 4


def test_a_second_time_asks_the_file_and_another_network_or_size_does_not(timings: list[Pace], tmp_path: Path) -> None:
    file = tmp_path / "pace.json"
    first = choose_pace(torch.nn.Linear(1, 1), SHAPE, CPU, OPEN, file)
    assert choose_pace(torch.nn.Linear(1, 1), SHAPE, CPU, OPEN, file) == first
    assert len(timings) == 4
    choose_pace(torch.nn.Linear(2, 1), SHAPE, CPU, OPEN, file)
    choose_pace(torch.nn.Linear(1, 1), (8, *SHAPE[1:]), CPU, OPEN, file)
    assert len(timings) == 12


def test_what_is_asked_for_is_not_timed(timings: list[Pace], tmp_path: Path) -> None:
    fixed = TrainerParams(precision="bf16-mixed", memory_format="contiguous", threads=3)
    assert choose_pace(torch.nn.Linear(1, 1), SHAPE, CPU, fixed, tmp_path / "pace.json") == Pace("bf16-mixed", False, 3)
    one = TrainerParams(precision="32-true", memory_format="channels_last", threads="auto", devices=2)
    assert choose_pace(torch.nn.Linear(1, 1), SHAPE, CPU, one, tmp_path / "pace.json") == Pace()  # a core each
    assert not timings
    assert not (tmp_path / "pace.json").exists()


def test_a_real_timing_leaves_weights_buffers_modes_and_threads_as_they_were(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=3).train()
    net.layer1.eval()
    before, threads = frozen_tensors(net, set()), torch.get_num_threads()
    pace = choose_pace(net, SHAPE, CPU, OPEN, tmp_path / "pace.json")
    assert pace.precision in ("32-true", "bf16-mixed")
    assert frozen_tensors(net, set()) == before
    assert torch.get_num_threads() == threads
    assert (net.layer1.training, net.layer2.training) == (False, True)
    assert all(parameter.grad is None for parameter in net.parameters())
