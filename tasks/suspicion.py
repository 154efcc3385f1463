"""Three scores of how strange an image is to one model; higher is stranger.

* `ood`: the Mahalanobis distance of its penultimate features to the nearest class mean of the training split, under one
  covariance for all classes (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples",
  section 2.1), shrunk as Ledoit & Wolf (2004) say, for there are often fewer images than features.
* `squeezing`: how far its answer moves when detail that an eye does not miss is taken away: fewer grey levels, or a
  median filter (Xu, Evans & Qi 2018, "Feature squeezing", section 4; the largest L1 distance).
* `high_frequency`: the share of its energy in the finest detail, where scans and photographs have next to none and
  adversarial patterns and static have much (Wang et al. 2020, "High-frequency component helps explain...").
"""

from functools import cache

import numpy as np
import torch
from torch.nn import functional as F

OOD, SQUEEZING, HIGH_FREQUENCY = SCORES = ("ood", "squeezing", "high_frequency")


def distances(features: np.ndarray, whitener: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Features (N, D) -> the distance of each to its nearest centre, float64 (N,)."""
    white = features.astype(np.float64) @ whitener.astype(np.float64)
    apart = ((white[:, None] - centres.astype(np.float64)[None]) ** 2).sum(axis=2)
    return np.asarray(np.sqrt(apart.min(axis=1)))


def squeezed(pixels: torch.Tensor, bits: int, window: int) -> torch.Tensor:
    """uint8 (N, 3, S, S) -> (2N, 3, S, S): all of them in 2**bits levels, then all through a median filter."""
    levels = 2**bits - 1
    coarse = ((pixels.float() / 255 * levels).round() / levels * 255).round().byte()
    return torch.cat([coarse, median(pixels, window)])


def median(pixels: torch.Tensor, window: int) -> torch.Tensor:
    """uint8 (N, 3, S, S) -> the lower median of each pixel's window, the border reflected, uint8 of the same shape.

    Whole images change places, by minimum and maximum, until the median is where it belongs: on bytes that is 25 times
    as fast as a sort for each pixel.
    """
    before, after = (window - 1) // 2, window // 2
    padded = F.pad(pixels.float(), (before, after, before, after), mode="reflect").byte()
    height, width = pixels.shape[-2:]
    shifted = [padded[..., y : y + height, x : x + width] for y in range(window) for x in range(window)]
    middle = (len(shifted) - 1) // 2
    for low in range(middle + 1):
        for high in range(low + 1, len(shifted)):
            less, more = torch.minimum(shifted[low], shifted[high]), torch.maximum(shifted[low], shifted[high])
            shifted[low], shifted[high] = less, more
    return shifted[middle]


def moved(probabilities: np.ndarray, of_squeezed: np.ndarray) -> np.ndarray:
    """Answers (N, K) and those to `squeezed` (2N, K) -> the larger L1 distance, 0 to 2, (N,)."""
    apart = np.abs(of_squeezed.reshape(2, *probabilities.shape) - probabilities[None]).sum(axis=2)
    return np.asarray(apart.max(axis=0))


def high_frequency(pixels: torch.Tensor, radius: float) -> np.ndarray:
    """uint8 (N, 3, S, S) -> the share of the grey image's energy, but for its mean, beyond `radius`, (N,).

    At radius 1 lies the finest pattern along a row or column; only diagonal detail is finer (up to the root of 2). An
    image of one grey has no energy, and share 0.
    """
    grey = pixels.sum(dim=1, dtype=torch.float64) / 3
    grey -= grey.mean(dim=(1, 2), keepdim=True)
    parts = torch.view_as_real(torch.fft.rfft2(grey))  # of a real image the other half is the same
    energy = (parts[..., 0] ** 2 + parts[..., 1] ** 2).flatten(1)
    share, whole = (energy @ _weights(*pixels.shape[-2:], radius)).T
    return np.asarray(torch.where(whole > 1e-9, share / whole.clamp(min=1e-9), 0.0).numpy())


@cache
def _weights(height: int, width: int, radius: float) -> torch.Tensor:
    """How often each energy of a half spectrum counts, (H * (W // 2 + 1), 2): beyond the radius, and at all."""
    down = torch.fft.fftfreq(height, dtype=torch.float64) * 2
    across = torch.fft.rfftfreq(width, dtype=torch.float64) * 2
    each = torch.where((across == 0) | (across == 1), 1.0, 2.0).expand(height, -1)  # these two columns have no twin
    fine = (down[:, None] ** 2 + across[None] ** 2).sqrt() > radius
    return torch.stack([(each * fine).flatten(), each.flatten()], dim=1).double()
