"""What another desk's scanner does to a scan: five simulated conditions, each at five severities.

Severity 3 is what the bundled deployment mirror shows. The conditions act on the scan alone, so the label holds.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Scan = np.ndarray  # (height, width) float32, 0 black to 255 white

CONTRAST = (0.7, 0.5, 0.3, 0.2, 0.1)  # share of the contrast that is left
INK_ON_DARK = (1.0, 0.9, 0.8, 0.6, 0.4)  # contrast of the inverted scan
NOISE = (15.0, 30.0, 50.0, 70.0, 90.0)  # standard deviation, grey levels
BLUR = (1.0, 1.6, 2.4, 3.2, 4.0)  # standard deviation, pixels of a 64-pixel scan
SKEW = (8.0, 16.0, 25.0, 32.0, 40.0)  # largest rotation either way, degrees


def faded(scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """A worn lamp: little contrast, on grey paper."""
    return 170 + (scan - 170) * CONTRAST[severity - 1]


def white_on_dark(scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """A scanner set to negative: light ink on dark paper."""
    return 30 + (255 - scan) * INK_ON_DARK[severity - 1]


def noise(scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """A noisy sensor: independent Gaussian noise on each pixel."""
    return scan + random.normal(0, NOISE[severity - 1], scan.shape)


def blur(scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """A lens out of focus: Gaussian blur."""
    radius = BLUR[severity - 1] * scan.shape[0] / 64
    return np.asarray(_image(scan).filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)


def skew(scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """Paper laid in at an angle: a rotation drawn evenly from the far half of either side's range."""
    most = SKEW[severity - 1]
    angle = float(random.uniform(most / 2, most) * random.choice((-1, 1)))
    turned = _image(scan).rotate(angle, Image.Resampling.BICUBIC, fillcolor=int(np.percentile(scan, 95)))
    return np.asarray(turned, dtype=np.float32)


CONDITIONS: dict[str, Callable[[Scan, int, np.random.Generator], Scan]] = {
    "faded": faded,
    "white on dark": white_on_dark,
    "noise": noise,
    "blur": blur,
    "skew": skew,
}


def apply_condition(name: str, scan: Scan, severity: int, random: np.random.Generator) -> Scan:
    """The scan (height, width; 0 to 255) under the named condition, clipped to the same range."""
    return np.clip(CONDITIONS[name](scan, severity, random), 0, 255).astype(np.float32)


def _image(scan: Scan) -> Image.Image:
    return Image.fromarray(np.clip(scan, 0, 255).round().astype(np.uint8))
