"""Timing a network leaves it as it was."""

import timm
import torch

from tasks.cost import measure_cost
from tasks.unfreezing import frozen_tensors


def test_figures_are_positive_and_weights_and_buffers_stay_bit_identical() -> None:
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=0)
    before = frozen_tensors(net, set())
    cost = measure_cost(net, 32, seconds=0.01)
    assert min(cost.forward, cost.train, cost.latency_ms) > 0
    assert cost.device
    assert frozen_tensors(net, set()) == before
    assert all(parameter.grad is None for parameter in net.parameters())
