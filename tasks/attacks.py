"""Adversarial images: the smallest changes that a network's own gradient says hurt most, by Captum.

FGSM takes one step of the whole size (Goodfellow, Shlens & Szegedy 2015), PGD many small ones (Madry et al. 2018), both
within the same distance of each pixel (L-infinity). They start at the image itself, so nothing is drawn at random. What
withstands them may still fall to a stronger attack: their accuracy is an upper bound on the true one.
"""

from collections.abc import Mapping
from typing import Any

import torch
from captum.robust import FGSM, PGD
from torch import nn
from torch.nn import functional as F

from tasks.errors import BadInput
from tasks.scorer import standardise

ATTACKS = ("fgsm", "pgd")
STRIDE = 2.5  # step size times number of steps, in radii (Madry et al. 2018, section 5): enough to reach any corner
BATCH = 64


class Network(nn.Module):
    """A network on images of 0 to 1, to be standardised as `facts` (model.json) say; its weights take no gradient."""

    def __init__(self, net: nn.Module, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.net, self.mean, self.std = net.eval().requires_grad_(False), facts["mean"], facts["std"]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float (N, 3, S, S) in 0..1 -> logits (N, K)."""
        wanted = standardise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.net(wanted)
        return logits


def attack(
    name: str, network: Network, images: torch.Tensor, truth: torch.Tensor, radius: float, steps: int
) -> torch.Tensor:
    """float (N, 3, S, S) in 0..1, class numbers (N,) -> images at most `radius` away that raise the loss of the truth.

    `steps` are those of `pgd`; BadInput for an unknown attack.
    """
    if name not in ATTACKS:
        raise BadInput(f"no attack '{name}'; there are {', '.join(ATTACKS)}")
    fgsm, pgd = (kind(network, _loss, lower_bound=0, upper_bound=1) for kind in (FGSM, PGD))
    for single in (fgsm, pgd.fgsm):
        single.zero_thresh = 0  # Captum's would spare the images of which the network is surest
    found = []
    for part, labels in zip(images.split(BATCH), truth.split(BATCH), strict=True):
        if name == "fgsm":
            found.append(fgsm.perturb(part.clone().requires_grad_(), radius, labels).detach())
        else:
            found.append(pgd.perturb(part.clone().requires_grad_(), radius, STRIDE * radius / steps, steps, labels))
    return torch.cat(found)


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, truth, reduction="none")
