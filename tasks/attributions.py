"""What an answer rests on: attribution of a network's output to regions of the image, and whether it can be believed.

Integrated gradients (Sundararajan, Taly & Yan 2017) by Captum, on the logit of the predicted class, averaged over
square cells. They are the same for every architecture; Grad-CAM wants a layer with a map of places, which a transformer
lacks, and at 64 pixels a network's last one has a few places only. The baseline, "no evidence", is the image strongly
blurred: black or grey would itself be evidence where ink is black.
"""

import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.stats import rankdata
from torch import nn
from torch.nn import functional as F

BATCH = 64
STRIDE = 4  # cells that change between two points of a curve
LEVELS = 256


def blurred(images: torch.Tensor, spread: float) -> torch.Tensor:
    """float (N, C, S, S) under a Gaussian blur with a standard deviation of `spread` sides."""
    pixel = torch.arange(images.shape[-1], device=images.device)
    distance = (pixel[:, None] - pixel) / (spread * len(pixel))
    smooth = torch.softmax(-(distance**2) / 2, dim=1)
    return smooth @ images @ smooth.T


def integrated_gradients(
    network: nn.Module, images: torch.Tensor, baselines: torch.Tensor, targets: torch.Tensor, steps: int
) -> torch.Tensor:
    """float images and baselines (N, 3, S, S) of 0 to 1, class numbers (N,) -> attributions (N, S, S).

    Summed over an image they are the logit minus that of the baseline, up to the error of `steps` quadrature points.
    """
    method = IntegratedGradients(network)
    parts = zip(images.split(BATCH), baselines.split(BATCH), targets.split(BATCH), strict=True)
    found = [
        method.attribute(image, baseline, target=target, n_steps=steps, internal_batch_size=BATCH)
        for image, baseline, target in parts
    ]
    return torch.cat(found).sum(1).float()


def over_cells(maps: torch.Tensor, cells: int) -> torch.Tensor:
    """(N, S, S) -> the mean over each of cells x cells regions, (N, cells * cells)."""
    return F.adaptive_avg_pool2d(maps[:, None], cells).flatten(1)


def curve(
    network: nn.Module,
    images: torch.Tensor,
    baselines: torch.Tensor,
    targets: torch.Tensor,
    order: torch.Tensor,
    temperature: float,
) -> np.ndarray:
    """The probability of the target (N, P) while the cells of `images` give way to the baseline's, in `order`.

    `order` (N, cells * cells) holds cell numbers, the first to go first. From image to baseline it is the deletion
    curve of Petsiuk, Das & Saenko 2018 (section 4.1); with the two exchanged, the insertion curve.
    """
    count, cells = order.shape
    places = torch.argsort(order, dim=1)  # when each cell goes
    points = [*range(0, cells, STRIDE), cells]
    side, across = images.shape[-1], round(cells**0.5)
    told = []
    for point in points:
        gone = (places < point).float().view(count, 1, across, across)
        mask = F.interpolate(gone, size=(side, side), mode="nearest")
        mixed = torch.lerp(images, baselines, mask)
        told.append(probability(network, mixed, targets, temperature))
    return np.stack(told, axis=1)


def probability(network: nn.Module, images: torch.Tensor, targets: torch.Tensor, temperature: float) -> np.ndarray:
    """The probability of the target class, (N,)."""
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in images.split(BATCH)]).double().cpu() / temperature
    told: np.ndarray = torch.softmax(logits, dim=1).numpy()
    return told[np.arange(len(targets)), targets.cpu().numpy()]


def area(curves: np.ndarray) -> np.ndarray:
    """The area under each curve (..., P) over 0 to 1 by the trapezoidal rule."""
    return np.asarray(np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1))


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row (N, M) with the same row of the other; NaN where a row is constant."""
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (ours, theirs))
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), scale, out=np.full(len(a), np.nan), where=scale > 0)


def frame(side: int, width: float) -> torch.Tensor:
    """Whether each pixel (S, S) lies in the border, `width` sides wide and at least one pixel."""
    inside = max(1, round(width * side))
    mask = torch.ones(side, side, dtype=torch.bool)
    mask[inside : side - inside, inside : side - inside] = False
    return mask


def background(images: torch.Tensor, border: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float (N, 3, S, S) of 0 to 1 -> which pixels are background (N, 1, S, S), and its colour (N, 3, 1, 1).

    The colour is the median over the border; background is what lies nearer to it than Otsu's threshold (1979).
    """
    colour = images[:, :, border].median(dim=2).values[:, :, None, None]
    distance = (images - colour).abs().mean(1, keepdim=True)
    levels = (distance * (LEVELS - 1)).round().long()
    limits = torch.tensor([otsu(np.bincount(image.ravel(), minlength=LEVELS)) for image in levels.cpu().numpy()])
    return levels <= limits.to(images.device).view(-1, 1, 1, 1), colour


def otsu(counts: np.ndarray) -> int:
    """The level up to which a histogram is its lower part: the least variance within the two parts (Otsu 1979)."""
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(len(counts)))
    above = below[-1] - below
    parted = (below > 0) & (above > 0)
    means = [np.divide(s, w, out=np.zeros(len(s)), where=w > 0) for s, w in ((sums, below), (sums[-1] - sums, above))]
    between = np.where(parted, below * above * (means[0] - means[1]) ** 2, 0.0)
    return int(between.argmax())


def donors(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each image another one with another label, drawn evenly, (N,); -1 where there is none."""
    found = [np.flatnonzero(labels != label) for label in labels]
    return np.array([int(random.choice(others)) if len(others) else -1 for others in found])
