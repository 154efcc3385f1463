"""How this machine runs a network fastest: number format, memory layout and threads, timed once and remembered.

On one processor bfloat16 trains a ResNet 1.5 to 1.8 times as fast and a MobileNet slower, so nothing but a short timing
can tell. What was chosen is kept in a file for each kind of network and machine: a second run does not time again, and
so computes the same numbers.
"""

import json
import logging
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional as F

from tasks.digests import canonical_json, sha256_text
from tasks.params import AUTO, TrainerParams
from tasks.whole_files import write_whole

STEPS = 2  # timed, after one that is not
MARGIN = 0.95  # a change must bring the time below this share: near ties stay plain
logger = logging.getLogger("tasks.pace")


@dataclass(frozen=True)
class Pace:
    """A way to run a network: Lightning's name of the precision, whether images lie channels last, threads a sum."""

    precision: str = "32-true"
    channels_last: bool = True
    threads: int = 1

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        return f"{self.precision}, {layout}, {self.threads} thread{'s' * (self.threads > 1)}"

    def lay_out(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in the memory layout that was chosen."""
        return images.contiguous(memory_format=self.memory_format)

    @property
    def memory_format(self) -> torch.memory_format:
        """What torch calls the layout."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_pace(net: nn.Module, shape: tuple[int, ...], device: torch.device, asked: TrainerParams, file: Path) -> Pace:
    """The fastest way to train `net` on batches of `shape` (B, 3, S, S), where `asked` says "auto".

    One thing is changed after the other, and stays changed where that pays. `file` keeps what was found; the network is
    left as it was, but for its memory layout.
    """
    pace, changes = _plain(asked), _changes(device, asked)
    if not changes:
        return pace
    key = sha256_text(canonical_json([machine(device), type(net).__name__, _shapes(net), shape, asdict(pace), changes]))
    with FileLock(file.with_suffix(".lock")):
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if key in known:
            return Pace(**known[key]["pace"])
        seconds = {pace: _time(net, shape, device, pace)}
        for change in changes:
            other = replace(pace, **change)
            seconds[other] = _time(net, shape, device, other)
            if seconds[other] < MARGIN * seconds[pace]:
                pace = other
        rates = {str(timed): shape[0] / least for timed, least in seconds.items()}
        known[key] = {"pace": asdict(pace), "machine": machine(device), "images_per_second": rates}
        write_whole(file, (json.dumps(known, indent=1) + "\n").encode())
    text = "; ".join(f"{name}: {rate:.0f}" for name, rate in rates.items())
    logger.info("images a second, forward and backward: %s; chose %s", text, pace)
    return pace


def _plain(asked: TrainerParams) -> Pace:
    """What is asked for; what is left open is plain."""
    return Pace(
        "32-true" if asked.precision == AUTO else asked.precision,
        asked.memory_format != "contiguous",
        asked.threads if isinstance(asked.threads, int) else 1,
    )


def _changes(device: torch.device, asked: TrainerParams) -> list[dict[str, Any]]:
    """What may be tried instead, in this order."""
    changes: list[dict[str, Any]] = []
    if asked.memory_format == AUTO:
        changes.append({"channels_last": False})
    if asked.precision == AUTO:
        half = "bf16-mixed" if device.type == "cpu" or torch.cuda.is_bf16_supported() else "16-mixed"
        changes.append({"precision": half})
    cores = (os.cpu_count() or 1) // asked.devices
    if asked.threads == AUTO and device.type == "cpu" and cores > 1:
        changes.append({"threads": cores})
    return changes


def machine(device: torch.device) -> str:
    """The kind of machine that a timing holds for."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model\t", "flags")
    found = {line.split(":")[0].strip(): line.partition(":")[2].strip() for line in lines if line.startswith(wanted)}
    abilities = sha256_text(found.pop("flags", ""))[:8]
    return f"{'/'.join(found.values())} with the abilities {abilities}"


def _time(net: nn.Module, shape: tuple[int, ...], device: torch.device, pace: Pace) -> float:
    """The seconds of one forward and backward pass in eval mode, the least of some."""
    net.to(memory_format=pace.memory_format)
    generator = torch.Generator(device).manual_seed(0)
    images = pace.lay_out(torch.rand(shape, device=device, generator=generator))
    modes = {name: module.training for name, module in net.named_modules()}
    net.eval()  # the running statistics must not move
    best, threads = float("inf"), torch.get_num_threads()
    torch.set_num_threads(pace.threads)
    parameters = [p for p in net.parameters() if p.requires_grad]
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        with torch.autocast(device.type, _dtype(pace.precision), enabled=pace.precision != "32-true"):
            loss = F.cross_entropy(net(images).float(), torch.zeros(shape[0], dtype=torch.long, device=device))
        torch.autograd.grad(loss, parameters)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    for name, module in net.named_modules():
        module.training = modes[name]
    return best


def _dtype(precision: str) -> torch.dtype:
    return torch.float16 if precision == "16-mixed" else torch.bfloat16


def _shapes(net: nn.Module) -> str:
    return sha256_text(canonical_json([(name, list(tensor.shape)) for name, tensor in net.state_dict().items()]))
