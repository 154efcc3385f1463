"""Augmentation of whole batches as tensors: small turns, shifts and changes of size, and nothing else by default.

Geometry alone on purpose: brightness, polarity and noise are what the deployment mirror tests, and whether to train on
them is a decision for the plan's owner.
"""

import math

import torch
from torch.nn import functional as F

from tasks.params import Augmentation


def augment(images: torch.Tensor, policy: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """float (N, C, S, S) -> the same shape, each image moved by its own draw; borders are repeated."""
    count = len(images)

    def draw(most: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * most

    angle, size = draw(math.radians(policy.turn)), 1 + draw(policy.scale)
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    across, down = draw(2 * policy.shift), draw(2 * policy.shift)
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
