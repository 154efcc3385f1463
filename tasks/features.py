"""What a frozen backbone makes of images: one vector each, taken where the classifier would sit."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tasks.scorer import normalise

BATCH = 256
SIDE = 16  # of the pixels that features are held against


def frozen_features(net: nn.Module, pixels: torch.Tensor, mean: list[float], std: list[float]) -> np.ndarray:
    """uint8 (N, 3, S, S) -> float32 (N, D) of a network without classifier, in eval, batch by batch."""
    device = next(net.parameters()).device
    net.eval()
    with torch.inference_mode():
        parts = [net(normalise(batch.to(device), mean, std)).float().cpu() for batch in pixels.split(BATCH)]
    return torch.cat(parts).numpy()


def pixel_features(pixels: torch.Tensor) -> np.ndarray:
    """uint8 (N, 3, S, S) -> float32 (N, 3 x 16 x 16): the images themselves, made small."""
    parts = [F.adaptive_avg_pool2d(batch.float(), SIDE).flatten(1) for batch in pixels.split(BATCH)]
    return torch.cat(parts).numpy()
