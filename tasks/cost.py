"""What a backbone costs on this machine: images a second forward and in training, and the latency of one image.

Timings differ from run to run, so they are recorded for the reader and decide nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

FORWARD, TRAIN, SECONDS = 64, 32, 0.15  # images a batch; the least time spent on each figure


@dataclass(frozen=True)
class Cost:
    """Rates in images a second on `threads` threads of `device`, latency in milliseconds (the median)."""

    forward: float
    train: float
    latency_ms: float
    device: str
    threads: int


def measure_cost(net: nn.Module, size: int, seconds: float = SECONDS) -> Cost:
    """Time a network without classifier on noise of `size` pixels a side; its weights are left as they are."""
    device = next(net.parameters()).device
    images = torch.randn(FORWARD, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    net.eval()
    with torch.inference_mode():
        forward = FORWARD / median_time(lambda: net(images), seconds)
        latency = median_time(lambda: net(images[:1]), seconds)

    def step() -> None:
        gradients = torch.autograd.grad(net(images[:TRAIN]).square().mean(), trained, allow_unused=True)
        del gradients

    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    train = TRAIN / median_time(step, seconds)  # BatchNorm in eval, as in a frozen stage: nothing is updated
    return Cost(round(forward, 1), round(train, 1), round(1000 * latency, 3), describe(device), torch.get_num_threads())


def median_time(work: Callable[[], object], seconds: float) -> float:
    """The median time of a call, after one that warms up."""
    work()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def describe(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
