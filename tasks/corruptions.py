"""Common corruptions of images, each at five severities (Hendrycks & Dietterich 2019, section 3, "ImageNet-C").

Strengths are those that the authors chose for 64-pixel images (Tiny-ImageNet-C); lengths are given in pixels of such an
image and grow with the side. Motion blur, fog and elastic transform are written anew here, with strengths of their own.

Left out of the fifteen: glass blur (at 64 pixels hard to tell from pixelate after blur), zoom blur (a camera that moves
towards its object; motion blur stands for both), and snow and frost (weather, and frost needs photographs of ice).

Every image has draws of its own, which are the same at every severity: more of the same disturbance, not another one.
An image without colour gets noise without colour, as its sensor would make it. Severity 0 is the image itself.
"""

import io
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from tasks.conditions import CONDITIONS, apply_condition
from tasks.errors import BadInput

Randoms = Sequence[np.random.Generator]  # one for each image
Corruption = Callable[[torch.Tensor, int, Randoms], torch.Tensor]  # float (N, 3, S, S) in 0..1 -> the same, unclipped

SEVERITIES = (1, 2, 3, 4, 5)
GAUSSIAN = (0.04, 0.08, 0.12, 0.15, 0.18)  # standard deviation, of a pixel from 0 to 1
PHOTONS = (250, 100, 50, 30, 15)  # that a white pixel counts
IMPULSES = (0.01, 0.02, 0.05, 0.08, 0.14)  # share of the pixels that turn black or white
DISK = (1.0, 1.5, 2.0, 2.5, 3.0)  # radius, pixels of 64
MOTION = (1.0, 1.5, 2.0, 2.5, 3.0)  # standard deviation along the motion, pixels of 64
STEEPEST = 45  # degrees of the motion, either way
FOG = (
    (0.4, 3.0),
    (0.7, 3.0),
    (1.0, 2.5),
    (1.5, 2.0),
    (2.0, 1.75),
)  # how thick, and how much of it lies in large swaths
LIGHT = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of hue, saturation and value
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # share that is left
BENDING = (0.4, 0.7, 1.0, 1.3, 1.6)  # standard deviation of the displacement, pixels of 64
BEND = 4.0  # pixels of 64: how far a bend reaches
COARSENESS = (0.9, 0.8, 0.7, 0.6, 0.5)  # side of the coarse image
JPEG = (65, 58, 50, 40, 25)  # quality


def gaussian_noise(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Independent noise on each pixel: a sensor in poor light."""
    return images + GAUSSIAN[severity - 1] * _per_pixel(
        images, randoms, lambda r, x: r.standard_normal(x.shape, dtype=np.float32)
    )


def shot_noise(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """The Poisson noise of few photons, stronger where it is light."""
    photons = PHOTONS[severity - 1]
    return _per_pixel(images, randoms, lambda r, x: r.poisson(x * photons)) / photons


def impulse_noise(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Salt and pepper: pixels stuck at white or black."""
    half = IMPULSES[severity - 1] / 2
    drawn = _per_pixel(images, randoms, lambda r, x: r.random(x.shape, dtype=np.float32))
    return torch.where(drawn < half, 0.0, torch.where(drawn > 1 - half, 1.0, images))


def defocus_blur(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """The even disk of a lens out of focus."""
    radius = DISK[severity - 1] * images.shape[-1] / 64
    across, down = _offsets(radius + 1)
    return _filtered(images, (radius + 0.5 - torch.hypot(across, down)).clamp(0, 1)[None].expand(len(images), -1, -1))


def motion_blur(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Movement along a line at most 45 degrees steep, while the shutter is open."""
    spread = MOTION[severity - 1] * images.shape[-1] / 64
    angles = torch.tensor([r.uniform(-STEEPEST, STEEPEST) for r in randoms], dtype=torch.float32).deg2rad()
    across, down = _offsets(3 * spread)
    cosine, sine = torch.cos(angles).view(-1, 1, 1), torch.sin(angles).view(-1, 1, 1)
    along, beside = across * cosine + down * sine, down * cosine - across * sine
    return _filtered(images, torch.exp(-((along / spread) ** 2) / 2) * (1 - beside.abs()).clamp(min=0))


def fog(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """White swaths over the image, whose own contrast shrinks; swaths are sums of noise at halving scales."""
    thickness, decay = FOG[severity - 1]
    side = images.shape[-1]
    swaths = torch.zeros(len(images), 1, side, side)
    for octave in range(1, int(math.log2(side))):
        cells = 2**octave + 1
        grid = np.stack([r.random((1, cells, cells), dtype=np.float32) for r in randoms])
        grown = F.interpolate(torch.from_numpy(grid), size=(side, side), mode="bilinear", align_corners=True)
        swaths += grown * decay**-octave
    swaths -= swaths.amin((2, 3), keepdim=True)
    swaths /= swaths.amax((2, 3), keepdim=True)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thickness * swaths) * brightest / (brightest + thickness)


def brightness(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """More light: the value of hue, saturation and value rises, the other two stay."""
    value = images.amax(1, keepdim=True)
    risen = (value + LIGHT[severity - 1]).clamp(max=1)
    return torch.where(value > 0, images * (risen / value.clamp(min=1e-6)), risen)


def contrast(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Less contrast about each channel's own mean."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + (images - mean) * CONTRAST[severity - 1]


def elastic_transform(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Small regions stretch and shrink: a smooth random displacement (Simard, Steinkraus & Platt 2003)."""
    side = images.shape[-1]
    drawn = torch.from_numpy(np.stack([r.standard_normal((2, side, side), dtype=np.float32) for r in randoms]))
    distance = (torch.arange(side)[:, None] - torch.arange(side)) / (BEND * side / 64)
    smooth = torch.softmax(-(distance**2) / 2, dim=1)
    field = smooth @ drawn @ smooth.T
    field *= BENDING[severity - 1] * side / 64 / field.std((1, 2, 3), keepdim=True)
    centres = (torch.arange(side) * 2 + 1) / side - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    moved = grid + field.permute(0, 2, 3, 1) * 2 / side
    return F.grid_sample(images, moved, padding_mode="border", align_corners=False)


def pixelate(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """Fewer pixels, enlarged again."""
    side = images.shape[-1]
    coarse = int(side * COARSENESS[severity - 1])
    box = Image.Resampling.BOX
    return _with_pillow(images, lambda image: image.resize((coarse, coarse), box).resize((side, side), box))


def jpeg_compression(images: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """The blocks of a file that had to be small."""

    def compress(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG[severity - 1])
        return Image.open(buffer)

    return _with_pillow(images, compress)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian noise": gaussian_noise,
    "shot noise": shot_noise,
    "impulse noise": impulse_noise,
    "defocus blur": defocus_blur,
    "motion blur": motion_blur,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg compression": jpeg_compression,
}


def corrupt(name: str, pixels: torch.Tensor, severity: int, seeds: Sequence[int]) -> torch.Tensor:
    """uint8 (N, 3, S, S) -> the same under a corruption, or under a scanner's fault (tasks/conditions.py).

    What is drawn for an image depends on its own seed and on the name alone. BadInput for an unknown name.
    """
    if name not in CORRUPTIONS and name not in CONDITIONS:
        raise BadInput(f"no corruption '{name}'; there are {', '.join([*CORRUPTIONS, *CONDITIONS])}")
    if severity not in (0, *SEVERITIES):
        raise BadInput(f"{name}: severity {severity} is none of 0 (the image itself) to 5")
    if severity == 0:
        return pixels.clone()
    randoms = [np.random.default_rng([seed, zlib.crc32(name.encode())]) for seed in seeds]
    if name in CONDITIONS:
        return _scanned(name, pixels, severity, randoms)
    changed = CORRUPTIONS[name](pixels.float() / 255, severity, randoms)
    return (changed.clamp(0, 1) * 255).round().byte()


def _scanned(name: str, pixels: torch.Tensor, severity: int, randoms: Randoms) -> torch.Tensor:
    """The fault on each channel as a scan of its own; those of one image share what is drawn at random."""
    changed = np.empty(pixels.shape, dtype=np.uint8)
    for place, (image, random) in enumerate(zip(pixels.numpy(), randoms, strict=True)):
        start = random.bit_generator.state
        scans = image[:1] if _is_grey(image) else image
        for channel, scan in enumerate(scans):
            random.bit_generator.state = start
            changed[place, channel:] = apply_condition(name, scan.astype(np.float32), severity, random).round()
    return torch.from_numpy(changed)


def _is_grey(image: np.ndarray) -> bool:
    return bool((image == image[:1]).all())


def _per_pixel(
    images: torch.Tensor, randoms: Randoms, draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
) -> torch.Tensor:
    """What is drawn for the pixels of each image, or for one of its channels where all are the same."""
    drawn = np.empty(images.shape, dtype=np.float32)
    for place, (image, random) in enumerate(zip(images.numpy(), randoms, strict=True)):
        drawn[place] = draw(random, image[:1] if _is_grey(image) else image)
    return torch.from_numpy(drawn)


def _offsets(reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels to the right and down from the centre of a kernel that reaches so far."""
    most = math.ceil(reach)
    steps = torch.arange(-most, most + 1, dtype=torch.float32)
    return torch.meshgrid(steps, steps, indexing="xy")  # type: ignore[return-value]


def _filtered(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Each image averaged with its own kernel (N, k, k); beyond the edge the edge goes on."""
    count, channels, side, _ = images.shape
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).repeat_interleave(channels, 0)[:, None]
    return F.conv2d(padded, kernels, groups=count * channels).view(count, channels, side, side)


def _with_pillow(images: torch.Tensor, change: Callable[[Image.Image], Image.Image]) -> torch.Tensor:
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image)).convert("RGB")) for image in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255
