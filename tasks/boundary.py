"""Frozen work is done once: store what the frozen part of a network says of each image, and run the open part alone.

While the first stages are frozen and in eval, what they compute for an image does not change. `find_cut` watches one
forward pass and finds the last frozen module before the first open one; its output is the boundary. `Shortcut` then
lets the network run from stored boundary activations: the cut module answers with them, and every module before it
with zeros that nobody reads. No architecture is special-cased; instead the shortcut is compared with the whole network
before it is used, and where they differ (a connection that jumps over the cut, a module called twice) there is no cut.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

logger = logging.getLogger("tasks.boundary")
CLOSE = 1e-5  # the same operations on the same numbers: what remains is rounding
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Where a network is cut: the module whose output is stored, and the shapes that the others would put out."""

    module: str
    shape: Shape  # of one image's activation
    dtype: torch.dtype
    before: dict[str, tuple[Shape, torch.dtype]]  # modules that run before the cut


class _Reached(Exception):
    """The boundary has been computed; what comes after it is not needed."""


def find_cut(net: nn.Module, opened: set[str], sample: torch.Tensor) -> Cut | None:
    """The cut in front of the first open tensor, or None when nothing before it is frozen or the cut would not hold.

    `sample` (B, 3, S, S) is run as the caller's autocast context has it; the network is left as it was. Call it with
    the network in the phase's modes: what drops at random in train mode is not stored.
    """
    random = {name for name, module in net.named_modules() if module.training and _drops(module)}
    with _evaluating(net), torch.no_grad():
        done, shapes, wanted = _watch(net, opened, random, sample)
        before = [name for name in done if not any(_inside(name, other) for other in done)]
        if not before:
            return None
        *others, last = before
        cut = Cut(last, *shapes[last], {name: shapes[name] for name in others})
        shortcut = Shortcut(net, cut)
        activations = shortcut.activations(sample)
        try:
            with shortcut.installed():
                found = shortcut(activations)
        except RuntimeError:  # an operation outside any module could not work on the stand-ins
            found = wanted.new_empty(0)
    if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=CLOSE, atol=CLOSE):
        logger.info("the network cannot be cut at %s: its frozen part is run at every step", last)
        return None
    return cut


class Shortcut:
    """A network that runs from stored activations while `installed`."""

    def __init__(self, net: nn.Module, cut: Cut) -> None:
        self.net, self.cut = net, cut
        self.stored: torch.Tensor | None = None

    def activations(self, images: torch.Tensor) -> torch.Tensor:
        """float (B, 3, S, S) -> the boundary activations (B, *cut.shape); the network after the cut is not run."""
        found: list[torch.Tensor] = []

        def stop(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            found.append(output)
            raise _Reached

        handle = self.net.get_submodule(self.cut.module).register_forward_hook(stop)
        try:
            with torch.no_grad():
                self.net(images)
        except _Reached:
            pass
        finally:
            handle.remove()
        return found[0]

    def __call__(self, stored: torch.Tensor) -> torch.Tensor:
        """(B, *cut.shape) -> what the network answers, (B, K)."""
        self.stored = stored
        return self.net(stored.new_zeros(()).expand(len(stored), 3, 1, 1))

    def install(self) -> None:
        """Let the modules up to the cut answer without computing."""
        for name, (shape, dtype) in self.cut.before.items():
            self.net.get_submodule(name).forward = self._zeros(shape, dtype)
        self.net.get_submodule(self.cut.module).forward = lambda *_, **__: self.stored

    def remove(self) -> None:
        """Let them compute again."""
        for name in (*self.cut.before, self.cut.module):
            self.net.get_submodule(name).__dict__.pop("forward", None)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """`install`, and `remove` at the end."""
        self.install()
        try:
            yield
        finally:
            self.remove()

    def _zeros(self, shape: Shape, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
        def forward(*_: Any, **__: Any) -> torch.Tensor:
            assert self.stored is not None
            nothing = torch.zeros((), dtype=dtype, device=self.stored.device)
            return nothing.expand(len(self.stored), *shape)  # costs no memory and no time

        return forward


class Activations:
    """Stored activations of N images in V views: (V, N, ...), images channels last, in memory or in a mapped file."""

    def __init__(self, views: int, count: int, cut: Cut, file: Path | None) -> None:
        shape = cut.shape
        self.views = views
        self.images = len(shape) == 3
        if self.images:  # (C, H, W) is stored as (H, W, C), so that a batch comes out channels last
            shape = (shape[1], shape[2], shape[0])
        size = (views, count, *shape)
        if file is None:
            self.store = torch.empty(size, dtype=cut.dtype)
        else:
            elements = int(np.prod(size))
            self.store = torch.from_file(str(file), shared=True, size=elements, dtype=cut.dtype).view(size)

    def put(self, view: int, places: torch.Tensor, values: torch.Tensor) -> None:
        """Keep one view's activations (B, ...) of the images at `places` (B,)."""
        values = values.detach().cpu()
        self.store[view, places] = values.permute(0, 2, 3, 1) if self.images else values

    def take(self, views: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The activations of the images at `places` (B,), each in its own view (B,)."""
        values = self.store[views, places]
        return values.permute(0, 3, 1, 2) if self.images else values


def bytes_of(cut: Cut, count: int, views: int) -> int:
    """How much room the activations take."""
    return int(np.prod(cut.shape)) * count * views * cut.dtype.itemsize


def _watch(
    net: nn.Module, opened: set[str], random: set[str], sample: torch.Tensor
) -> tuple[list[str], dict[str, tuple[Shape, torch.dtype]], torch.Tensor]:
    """The modules that finish before the first open one begins, their outputs' shapes, and the network's answer."""
    done: list[str] = []
    shapes: dict[str, tuple[Shape, torch.dtype]] = {}
    over = [_is_open("", net, opened)]

    def begin(name: str, module: nn.Module) -> None:
        over[0] = over[0] or _is_open(name, module, opened) or name in random

    def finish(name: str, output: Any) -> None:
        if over[0] or not name:
            return
        if not isinstance(output, torch.Tensor) or len(output) != len(sample):
            over[0] = True
            return
        done.append(name)
        shapes[name] = (tuple(output.shape[1:]), output.dtype)

    handles = []
    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(lambda m, _, name=name: begin(name, m)))
        handles.append(module.register_forward_hook(lambda m, _, output, name=name: finish(name, output)))
    try:
        answer: torch.Tensor = net(sample)
    finally:
        for handle in handles:
            handle.remove()
    return done, shapes, answer


def _is_open(prefix: str, module: nn.Module, opened: set[str]) -> bool:
    """Whether a tensor of the module's own, not of its children, is open."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return any((f"{prefix}.{name}" if prefix else name) in opened for name, _ in own)


def _drops(module: nn.Module) -> bool:
    """Whether the module drops something at random while it is in train mode: dropout, stochastic depth."""
    return "drop" in type(module).__name__.lower() and any(
        bool(getattr(module, name, 0)) for name in ("p", "drop_prob", "prob")
    )


def _inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    modes = {name: module.training for name, module in net.named_modules()}
    net.eval()
    try:
        yield
    finally:
        for name, module in net.named_modules():
            module.training = modes[name]
