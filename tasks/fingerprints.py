"""Two fingerprints of a picture: one that only the same pixels share, and one that alike pictures nearly share."""

import numpy as np
from PIL import Image
from scipy.fft import dct

from tasks.digests import sha256_bytes

SIDE, KEPT = 32, 8  # pixels that the hash looks at, and its lowest frequencies, each way
WAVES = dct(np.eye(SIDE), norm="ortho", axis=0)[:KEPT]  # (8, 32): those frequencies of a row or a column


def picture_digest(image: Image.Image) -> str:
    """The sha256 of an RGB image's size and pixels: the same for a picture that was saved again without loss."""
    return sha256_bytes(f"{image.width} x {image.height} ".encode() + image.tobytes())


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that few changes of size, brightness or compression flip: pHash (Zauner 2010, section 3.2.1).

    The image in grey at 32 x 32, its discrete cosine transform, and for each of the 8 x 8 lowest frequencies whether
    it lies above their median.
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    lowest = (WAVES @ grey @ WAVES.T).ravel().round(6)  # what rounding leaves of a zero has no sign
    middle = np.sort(lowest)[lowest.size // 2 - 1 : lowest.size // 2 + 1].mean()
    return int.from_bytes(np.packbits(lowest > middle).tobytes(), "big")


def hamming(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How many bits differ between hashes, uint64 (q,) and (t,): (q, t)."""
    return np.bitwise_count(asked[:, None] ^ known[None]).astype(float)
