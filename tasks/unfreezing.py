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

from tasks.errors import BadInput, KeelError

Open = Literal["head", "all"] | int


class FrozenMoved(KeelError):
    """A tensor that a phase holds frozen changed during it, or a frozen module was about to let it change."""


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
        if prefix and _is_frozen(prefix, module, opened):
            module.eval()


def frozen_tensors(net: nn.Module, opened: set[str]) -> dict[str, str]:
    """The sha256 of the bytes of every parameter and buffer that is not open, by name."""
    return {name: _sha256(tensor) for name, tensor in _tensors(net) if name not in opened}


def check_frozen(net: nn.Module, opened: set[str], before: dict[str, str], phase: str) -> None:
    """Raise FrozenMoved, by name, when a frozen tensor is not what it was or a frozen module is in train mode."""
    moved = [name for name, digest in frozen_tensors(net, opened).items() if before.get(name) != digest]
    awake = [n for n, m in net.named_modules() if n and m.training and _is_frozen(n, m, opened)]
    for names, did in ((moved, "changed"), (awake, "are in train mode")):
        if names:
            raise FrozenMoved(
                f"{phase}: {len(names)} tensors or modules that it holds frozen {did}, such as {names[0]}; "
                "the run is stopped and nothing is kept"
            )


def _is_frozen(prefix: str, module: nn.Module, opened: set[str]) -> bool:
    names = [f"{prefix}.{name}" for name, _ in _tensors(module)]
    return bool(names) and not opened.intersection(names)


def _sha256(tensor: torch.Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(content.numpy().tobytes()).hexdigest()


def layer_rates(net: nn.Module, decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """(factor, parameters) a stage: 1 for the head, times `decay` for each stage towards the input.

    Every parameter is in exactly one group, by identity: equal values do not make two parameters one.
    """
    parameters = dict(net.named_parameters())
    groups = [[parameters[name] for name in group if name in parameters] for group in stage_groups(net)]
    placed = [id(p) for group in groups for p in group]
    if sorted(placed) != sorted(id(p) for p in net.parameters()):
        raise BadInput(f"{type(net).__name__}: timm's group_matcher does not place each parameter once; choose another")
    return [(decay ** (len(groups) - 1 - depth), group) for depth, group in enumerate(groups) if group]


def _tensors(module: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
