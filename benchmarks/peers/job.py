"""What one engine is asked to do in one run: the same words for all of them, as JSON between two processes.

An engine is a module of this package with one function, `train(job) -> network`. The network takes normalised images
(N, 3, S, S) and gives logits (N, K) on the CPU.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.unfreezing import head_modules
from tasks.weights import create_backbone


@dataclass(frozen=True)
class Photos:
    """Image files below the job's root, their classes as numbers, and their digests."""

    files: list[str]
    targets: list[int]
    sha256: list[str]


@dataclass(frozen=True)
class Job:
    """One run. `phases` are {open, epochs}; peers know only `head` and `all`, in this order."""

    engine: str
    root: str
    train: Photos
    validation: Photos
    test: Photos
    classes: int
    architecture: str
    weights: str
    mean: list[float]
    std: list[float]
    image_size: int
    batch_size: int
    seed: int
    phases: list[dict[str, Any]]
    rate: float
    threads: int  # of the process that trains
    workers: int  # processes that decode; 0: the one that trains
    precision: str  # fp32 or bf16
    channels_last: bool
    augmentation: dict[str, float]  # turn in degrees, shift in shares of the side, scale in shares of the size
    label_smoothing: float
    weight_decay: float
    options: dict[str, Any]  # what this engine alone knows

    @property
    def head_epochs(self) -> int:
        """Epochs with the backbone frozen."""
        return self._epochs("head")

    @property
    def all_epochs(self) -> int:
        """Epochs with everything open."""
        return self._epochs("all")

    def _epochs(self, what: str) -> int:
        return sum(phase["epochs"] for phase in self.phases if phase["open"] == what)

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_job(path: Path) -> Job:
    """The job that `Job.write` kept."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    photos = {split: Photos(**facts[split]) for split in ("train", "validation", "test")}
    return Job(**facts | photos)


def create_network(job: Job) -> nn.Module:
    """The timm network with a fresh classifier on the job's weights, in the memory layout that the job names."""
    net = create_backbone(job.architecture, Path(job.weights), job.classes)
    return in_layout(net, job)


def in_layout(net: nn.Module, job: Job) -> nn.Module:
    """The network in channels_last where the job says so; activations follow the weights."""
    return net.to(memory_format=torch.channels_last) if job.channels_last else net


def split_parameters(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(body, head)."""
    heads = tuple(f"{module}." for module in head_modules(net))
    named = list(net.named_parameters())
    return [p for n, p in named if not n.startswith(heads)], [p for n, p in named if n.startswith(heads)]
