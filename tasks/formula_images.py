"""Images drawn from formulas: what a backbone is pretrained on when no photograph and no licence may be involved.

A class is one draw of a formula's constants, an instance is a small change of them. Three families, half of the
classes strokes, the rest contours:

    strokes    characters of an invented alphabet: a few splines that start afresh or on one another, as in the
               motor programs of Lake et al., "Human-level concept learning through probabilistic program induction"
               (Science, 2015)
    polygons   nested noisy polygons, the radial contours of Kataoka et al., "Replacing Labeled Real-image Datasets
               with Auto-generated Contours" (CVPR 2022)
    atoms      nested orbits, each the sum of two sine waves, of Takashima et al., "Visual Atoms: Pre-training Vision
               Transformers with Sinusoidal Waves" (CVPR 2023)

`draw_figures` draws white figures on black; `randomise` moves, colours and spoils a batch of them.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

Curve = np.ndarray  # (instances, points, 2), the image is [-1, 1] x [-1, 1]
Widths = np.ndarray  # (instances,), line widths as a share of the image's side
SUPERSAMPLING = 2  # Pillow's lines have hard edges: drawn larger, then averaged
OPEN, SOLID, BANDS = range(3)  # how a contour family fills its figures


def draw_figures(classes: int, instances: int, size: int, seed: int) -> np.ndarray:
    """White figures on black, uint8 (classes, instances, size, size).

    A class depends on the seed and its own number alone, so a larger set begins with the smaller one.
    """
    figures = np.empty((classes, instances, size, size), dtype=np.uint8)
    for number in range(classes):
        random = np.random.default_rng([seed, number])
        draw_class = (draw_strokes, draw_polygons, draw_strokes, draw_atoms)[number % 4]
        figures[number] = draw_class(instances, size, random)
    return figures


def draw_strokes(instances: int, size: int, random: np.random.Generator) -> np.ndarray:
    """One character, uint8 (instances, size, size)."""
    strokes: list[np.ndarray] = []
    for _ in range(int(random.integers(2, 5))):
        strokes.append(_pen_path(strokes, random))
    everything = np.concatenate(strokes)
    low, high = everything.min(0), everything.max(0)
    fit = 1.5 / max(0.3, float((high - low).max()))
    smooth = random.random(len(strokes)) < 0.7
    widths = random.uniform(0.025, 0.09, instances)
    curves = []
    for path, round_ in zip(strokes, smooth, strict=True):
        points = (path - (low + high) / 2) * fit + random.normal(0, 0.05, (instances, *path.shape))
        points = points + random.normal(0, 0.04, (instances, 1, 2))  # the whole stroke slips
        curves.append(spline(points) if round_ else points)
    return _paint(curves, widths, np.full(instances, OPEN), False, size)


def draw_polygons(instances: int, size: int, random: np.random.Generator) -> np.ndarray:
    """One class of radial contours around a polygon, uint8 (instances, size, size)."""
    corners, count = int(random.integers(3, 12)), int(random.integers(1, 7))
    harmonics, phases = np.arange(1, 7), random.uniform(0, 2 * math.pi, 6)
    weights = random.normal(0, 0.22, 6) / np.sqrt(harmonics)
    angles = np.arange(corners * 12) / (corners * 12) * 2 * math.pi
    sector = math.pi / corners
    polygon = math.cos(sector) / np.cos(np.mod(angles, 2 * sector) - sector)
    own = weights * random.normal(1, 0.15, (instances, 6))
    noise = np.einsum("ih,ha->ia", own, np.sin(np.outer(harmonics, angles) + phases[:, None]))
    return _paint_nested(np.clip(polygon * (1 + noise), 0.15, 2.2), angles, count, size, random)


def draw_atoms(instances: int, size: int, random: np.random.Generator) -> np.ndarray:
    """One class of orbits with two sine waves on each, uint8 (instances, size, size)."""
    slow, fast = int(random.integers(1, 8)), int(random.integers(2, 18))
    heights, phase = random.uniform(0.08, 0.42, 2) * (1, 0.6), random.uniform(0, 2 * math.pi, 2)
    count, angles = int(random.integers(1, 6)), np.arange(180) / 180 * 2 * math.pi
    own = heights * random.normal(1, 0.12, (instances, 2))
    shift = phase + random.normal(0, 0.2, (instances, 2))
    waves = own[:, :1] * np.sin(slow * angles + shift[:, :1]) + own[:, 1:] * np.sin(fast * angles + shift[:, 1:])
    return _paint_nested(np.clip(1 + waves, 0.15, 2.2), angles, count, size, random)


def spline(points: Curve, steps: int = 8) -> Curve:
    """The Catmull-Rom curve through (instances, n, 2) points, `steps` samples between neighbours."""
    padded = np.concatenate([points[:, :1], points, points[:, -1:]], 1)
    before, start, end, after = (padded[:, i : i + points.shape[1] - 1, None] for i in range(4))
    t = (np.arange(steps) / steps)[:, None]
    cubic = (3 * (start - end) + after - before) * t**3 + (2 * before - 5 * start + 4 * end - after) * t**2
    curve = 0.5 * (cubic + (end - before) * t + 2 * start)
    return np.concatenate([curve.reshape(len(points), -1, 2), points[:, -1:]], 1)


def _pen_path(earlier: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Where a pen goes, (n, 2): it starts on an earlier stroke or anywhere, and keeps its direction for a while."""
    place = random.uniform(-0.8, 0.8, 2)
    if earlier and random.random() < 0.5:
        touched = earlier[int(random.integers(len(earlier)))]
        place = touched[int(random.integers(len(touched)))]
    count, heading = int(random.integers(3, 7)), random.uniform(0, 2 * math.pi)
    bend = random.normal(0, 0.7)  # a stroke curls to one side, so that loops and hooks are common
    path = [place]
    for _ in range(count - 1):
        path.append(path[-1] + random.uniform(0.3, 0.8) * np.array([math.cos(heading), math.sin(heading)]))
        heading += bend + random.normal(0, 0.7)
    return np.stack(path)


def _paint_nested(
    radii: np.ndarray, angles: np.ndarray, count: int, size: int, random: np.random.Generator
) -> np.ndarray:
    """`count` copies of the contours of radii (instances, angles), each smaller, oval and turned as the class says."""
    instances = len(radii)
    shrink, oval, turn = random.uniform(0.55, 0.88), random.uniform(0.6, 1.0), random.uniform(0, 2 * math.pi)
    spin, style = random.normal(0, 0.15), int(random.integers(3))
    styles = np.where(random.random(instances) < 0.75, style, random.integers(0, 3, instances))
    reach = 0.8 / np.maximum(radii.max(1), 1e-6) * random.uniform(0.85, 1.1, instances)
    curves = []
    for ring in range(count):
        at = angles + spin * ring
        flat = np.stack([np.cos(at), np.sin(at) * oval], -1)  # (angles, 2)
        turned = flat @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        curves.append((radii * reach[:, None])[..., None] * turned * shrink**ring)
    return _paint(curves, random.uniform(0.012, 0.05, instances), styles, True, size)


def _paint(curves: list[Curve], widths: Widths, styles: np.ndarray, closed: bool, size: int) -> np.ndarray:
    side = size * SUPERSAMPLING
    pixels = [((curve + 1) * side / 2) for curve in curves]
    images = np.empty((len(widths), size, size), dtype=np.uint8)
    for number, (width, style) in enumerate(zip(widths, styles, strict=True)):
        image = Image.new("L", (side, side))
        pen = ImageDraw.Draw(image)
        for ring, curve in enumerate(pixels):
            points = curve[number].ravel().tolist()
            if style == BANDS or (style == SOLID and ring == 0):
                pen.polygon(points, fill=0 if ring % 2 else 255)
            elif style == OPEN:
                pen.line(points + points[:2] * closed, fill=255, width=max(1, round(width * side)), joint="curve")
        images[number] = np.asarray(image.reduce(SUPERSAMPLING))
    return images


def randomise(figures: torch.Tensor, strength: float, size: int, generator: torch.Generator) -> torch.Tensor:
    """uint8 (B, S, S) figures as float (B, 3, size, size) pictures between 0 and 1.

    Strength 0 leaves the white figure on black where it is; up to 1 it scales warp, colours (either may be the
    lighter), ramps of light, texture and noise.
    """
    shape = _warp(figures[:, None].float() / 255, strength, size, generator)
    inside, outside = (
        _surface(light, strength, size, generator) for light in _lights(len(figures), strength, generator)
    )
    picture = outside + (inside - outside) * shape
    noisy = torch.rand(len(figures), 1, 1, 1, generator=generator) < 0.5
    spread = strength * 0.25 * torch.rand(len(figures), 1, 1, 1, generator=generator) * noisy
    return (picture + spread * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def _warp(shape: torch.Tensor, strength: float, size: int, generator: torch.Generator) -> torch.Tensor:
    """(B, 1, S, S) -> (B, 1, size, size): turned, stretched, shifted and bent."""
    count = len(shape)

    def draw(most: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * (most * strength)

    angle, across, down = draw(0.35), torch.exp(draw(0.25)), torch.exp(draw(0.25))
    rows = [
        torch.stack([torch.cos(angle) * across, -torch.sin(angle), draw(0.2)], 1),
        torch.stack([torch.sin(angle), torch.cos(angle) * down, draw(0.2)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 1, size, size], align_corners=False)
    bend = torch.randn(count, 2, 4, 4, generator=generator) * (0.06 * strength)
    bend = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True)
    return F.grid_sample(shape, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def _lights(count: int, strength: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """How light figure and ground are, each (B, 1, 1, 1): either may be the lighter, never by less than 0.1."""
    gap = 0.1 + 0.9 * torch.rand(count, 1, 1, 1, generator=generator) ** 2  # faded ones are common
    dark = (1 - gap) * torch.rand(count, 1, 1, 1, generator=generator)
    swapped = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    figure, ground = torch.where(swapped, dark, dark + gap), torch.where(swapped, dark + gap, dark)
    return 1 + strength * (figure - 1), strength * ground


def _surface(light: torch.Tensor, strength: float, size: int, generator: torch.Generator) -> torch.Tensor:
    """What figure or ground is made of, (B, 3, size, size): one colour, a ramp of light, and a coarse texture."""
    count = len(light)
    colour = light + strength * 0.4 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    slope = torch.randn(count, 1, 2, 2, generator=generator) * (0.1 * strength)
    ramp = F.interpolate(slope, (size, size), mode="bilinear", align_corners=True)
    cells = int(torch.randint(4, 17, (), generator=generator))
    height = 0.12 * strength * torch.rand(count, 1, 1, 1, generator=generator)
    texture = torch.randn(count, 3, cells, cells, generator=generator) * height
    return colour + ramp + F.interpolate(texture, (size, size), mode="bilinear", align_corners=True)
