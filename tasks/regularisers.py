"""What holds the weights back or smooths them: the pull to the starting point, the moving average, mixed images."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import CutMix, MixUp


class StartingPoint:
    """L2-SP (Li, Grandvalet & Davoine 2018, equation 3): strength / 2 times the squared distance to where it began.

    The classifier is new and has no pretrained value; it is pulled to zero with the same strength (their beta = alpha).
    """

    def __init__(self, net: nn.Module, head: set[str], strength: float) -> None:
        self.strength = strength
        self.start = {n: (torch.zeros_like(p) if n in head else p.detach().clone()) for n, p in net.named_parameters()}

    def penalty(self, net: nn.Module) -> torch.Tensor:
        """The penalty over the parameters that are open, a scalar."""
        parts = [(p - self.start[n].to(p)).square().sum() for n, p in net.named_parameters() if p.requires_grad]
        return torch.stack(parts).sum() * (self.strength / 2)


class MovingAverage:
    """The exponential moving average of the weights (Polyak & Juditsky 1992), short at first: min(keep, (1+t)/(10+t)).

    It follows parameters and floating-point buffers; counters are copied.
    """

    def __init__(self, net: nn.Module, keep: float) -> None:
        self.keep, self.steps = keep, 0
        self.average = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights after a step."""
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, now in net.state_dict().items():
            if now.is_floating_point():
                self.average[name].lerp_(now, 1 - keep)
            else:
                self.average[name].copy_(now)

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """The network with the average as its weights, for as long as the block lasts."""
        ours = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        net.load_state_dict(self.average)
        try:
            yield
        finally:
            net.load_state_dict(ours)

    def restart(self, net: nn.Module) -> None:
        """Begin again from the network as it is."""
        self.__init__(net, self.keep)  # type: ignore[misc]


def mixed(
    images: torch.Tensor, targets: torch.Tensor, classes: int, mixup: float, cutmix: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, S, S) and targets (B,) mixed by mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019).

    Where both are on, an even draw from torch's generator decides for the batch. Targets come back as shares (B, K).
    """
    kinds = [kind(alpha=alpha, num_classes=classes) for kind, alpha in ((MixUp, mixup), (CutMix, cutmix)) if alpha]
    if not kinds or len(images) < 2:
        return images, F.one_hot(targets, classes).to(images.dtype)
    chosen = kinds[int(torch.randint(len(kinds), ()))]
    images, shares = chosen(images, targets)
    return images, shares
