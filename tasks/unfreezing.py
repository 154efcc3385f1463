"""Gradual unfreezing: which tensors are open in which phase, and the proof that the others did not move.

Stages come from timm's own `group_matcher`, so the same schedule works for ResNets, ConvNeXts and ViTs. Frozen means
parameters and buffers bit-identical: no gradient, and every module that is frozen throughout in eval mode, so that
BatchNorm neither updates its running statistics nor normalises by the batch (Howard & Ruder 2018, section 3.3, for the
schedule; Kumar et al. 2022 for why the head goes first).
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import torch
from timm.models._manipulate import group_with_matcher
from torch import nn

from tasks.errors import BadInput

Open = Literal["head", "all"] | int


def stage_groups(net: nn.Module) -> list[list[str]]:
    """Names of all parameters and buffers, grouped by depth: the input's stage first, the head last."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    head = {name for name, _ in tensors if any(name.startswith(f"{m}.") for m in head_modules(net))}
    body = [(name, tensor) for name, tensor in tensors if name not in head]
    groups = group_with_matcher(iter(body), net.group_matcher(coarse=True))  # type: ignore[operator]
    return [list(names) for _, names in sorted(groups.items())] + [sorted(head)]


def head_modules(net: nn.Module) -> list[str]:
    """The names of the classifier's modules, as timm's configuration gives them."""
    classifier = net.pretrained_cfg["classifier"]  # type: ignore[index]
    return [classifier] if isinstance(classifier, str) else list(classifier)


def open_names(net: nn.Module, phase: Open) -> set[str]:
    """The tensors that a phase trains: the head, the head and the last k stages, or all."""
    groups = stage_groups(net)
    count = {"head": 0, "all": len(groups) - 1}.get(str(phase), phase)
    if not isinstance(count, int) or not 0 <= count < len(groups):
        most = len(groups) - 1
        raise BadInput(f"finetune.phases: open: {phase} is not head, all or a number of stages from 1 to {most}")
    return {name for group in groups[len(groups) - 1 - count :] for name in group}


def set_open(net: nn.Module, opened: set[str]) -> None:
    """Train exactly the named tensors; every module with nothing open in it goes to eval mode."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in opened)
    net.train()
    for prefix, module in net.named_modules():
        names = [f"{prefix}.{n}" if prefix else n for n, _ in _tensors(module)]
        if names and not opened.intersection(names):
            module.eval()


def frozen_digest(net: nn.Module, opened: set[str]) -> str:
    """The sha256 over the bytes of every parameter and buffer that is not open."""
    digest = hashlib.sha256()
    for name, tensor in _tensors(net):
        if name not in opened:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def layer_rates(net: nn.Module, decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """(factor, parameters) a stage: 1 for the head, times `decay` for each stage towards the input.

    Every parameter is in exactly one group, by identity.
    """
    parameters = dict(net.named_parameters())
    groups = [[parameters[name] for name in group if name in parameters] for group in stage_groups(net)]
    return [(decay ** (len(groups) - 1 - depth), group) for depth, group in enumerate(groups) if group]


def _tensors(module: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
