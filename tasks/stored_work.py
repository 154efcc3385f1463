"""What the frozen part of a network says of every image, computed once for a whole phase (tasks/boundary.py says how).

Training images are stored in some augmented views, or in one where nothing is augmented; validation images as taken.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tasks.batches import Epochs, ahead
from tasks.boundary import Activations, Shortcut, bytes_of, find_cut

CHUNK = 256  # images that are scored at once
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class StoredWork:
    """The shortcut past the frozen part, and what it starts from; `how` is the sentence for the record."""

    shortcut: Shortcut
    train: Activations
    validation: Activations
    how: str


def store_work(
    net: nn.Module, opened: set[str], epochs: Epochs, validation: torch.Tensor, views: int, memory_mb: int, file: Path
) -> StoredWork | None:
    """The frozen part's answers, or None where the network cannot be cut; above `memory_mb` they lie in `file`, mapped.

    Call it as the phase runs: with the network in its modes, and in its autocast context.
    """
    device, count = next(net.parameters()).device, len(epochs.targets)
    cut = find_cut(net, opened, epochs.as_taken(validation[:2]).to(device))
    if cut is None:
        return None
    augmented = bool(epochs.policy.active())
    views = views if augmented else 1
    room = bytes_of(cut, count, views)
    in_memory = room <= memory_mb * MEGABYTE
    shortcut = Shortcut(net, cut)
    train = Activations(views, count, cut, None if in_memory else file)
    work = [(view, places) for view in range(views) for places in torch.arange(count).split(CHUNK)]
    images = ahead(lambda n: epochs.augmented(work[n][1], epochs.view_generator(n)), range(len(work)))
    for (view, places), batch in zip(work, images, strict=True):
        train.put(view, places, shortcut.activations(batch.to(device)))
    clean = Activations(1, len(validation), cut, None)
    for places in torch.arange(len(validation)).split(CHUNK):
        clean.put(0, places, shortcut.activations(epochs.as_taken(validation[places]).to(device)))
    what = f"{views} augmented views" if augmented else "one view, without augmentation,"
    where = "in memory" if in_memory else "in a mapped file"
    how = (
        f"what the frozen part says of each image up to {cut.module} was computed once, in {what} an image "
        f"({room / MEGABYTE:.0f} MB, {where})"
    )
    return StoredWork(shortcut, train, clean, how)
