"""Frozen means bit-identical, in networks with BatchNorm, with LayerNorm and with attention."""

import pytest
import timm
import torch
from torch import nn

from tasks.errors import BadInput
from tasks.unfreezing import frozen_tensors, layer_rates, open_names, set_open, stage_groups

ARCHITECTURES = ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"]


def network(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(architecture, num_classes=4, **({"img_size": 64} if "vit" in architecture else {}))


def step(net: nn.Module, opened: set[str]) -> None:
    set_open(net, opened)
    optimizer = torch.optim.AdamW([{"params": p} for _, p in layer_rates(net, 0.8)], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(4, 3, 64, 64)).logsumexp(1).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_groups_hold_every_tensor_once_with_the_head_last(architecture: str) -> None:
    net = network(architecture)
    names = [name for group in stage_groups(net) for name in group]
    assert sorted(names) == sorted([n for n, _ in net.named_parameters()] + [n for n, _ in net.named_buffers()])
    assert all(net.get_parameter(name).shape[0] == 4 for name in stage_groups(net)[-1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("phase", ["head", 2])
def test_frozen_tensors_are_bit_identical_after_training_and_open_ones_move(architecture: str, phase: str) -> None:
    # Fails when set_open leaves frozen BatchNorm in train mode (drop its `module.eval()`).
    net = network(architecture)
    opened = open_names(net, phase)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    digest = frozen_tensors(net, opened)
    step(net, opened)
    moved = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert frozen_tensors(net, opened) == digest
    assert moved <= opened
    assert set(stage_groups(net)[-1]) <= moved


def test_frozen_batchnorm_is_in_eval_and_open_one_in_train() -> None:
    net = network("test_resnet")
    set_open(net, open_names(net, 1))
    modes = {name: m.training for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert modes["bn1"] is False
    assert modes["layer4.0.bn1"] is True


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_in_one_optimizer_group_by_identity(architecture: str) -> None:
    net = network(architecture)
    ids = [id(p) for _, group in layer_rates(net, 0.5) for p in group]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())


def test_rates_fall_towards_the_input() -> None:
    factors = [factor for factor, _ in layer_rates(network("test_resnet"), 0.5)]
    assert factors == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]


def test_impossible_phase_is_named() -> None:
    with pytest.raises(BadInput, match=r"open: 9 is not head, all or a number of stages from 1 to 5"):
        open_names(network("test_resnet"), 9)
