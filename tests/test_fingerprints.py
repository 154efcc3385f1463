"""One fingerprint knows the same pixels in another file, the other knows a picture that was changed a little."""

import io

import numpy as np
from conftest import draw, encode
from PIL import Image, ImageEnhance

from tasks.fingerprints import hamming, perceptual_hash, picture_digest
from tasks.images import decode


def photograph(seed: int) -> Image.Image:
    """A smooth picture of its own."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


def hashes(*images: Image.Image) -> np.ndarray:
    return np.array([perceptual_hash(image) for image in images], dtype=np.uint64)


def test_a_picture_saved_in_another_format_without_loss_is_the_same_picture() -> None:
    image = photograph(1)
    digests = {picture_digest(decode(encode(image, kind), "x")) for kind in ("PNG", "BMP", "TIFF")}
    assert digests == {picture_digest(image)}
    assert picture_digest(image.crop((0, 0, 95, 96))) not in digests
    assert picture_digest(decode(encode(image, "JPEG", quality=60), "x")) not in digests


def test_few_bits_differ_after_small_changes_and_half_between_pictures() -> None:
    for seed in range(5):
        image = photograph(seed)
        changed = [Image.open(io.BytesIO(encode(image, "JPEG", quality=60))), image.resize((64, 64))]
        changed += [ImageEnhance.Brightness(image).enhance(0.8), ImageEnhance.Contrast(image).enhance(0.8)]
        assert hamming(hashes(image), hashes(*changed)).max() <= 6
    others = hamming(hashes(*map(photograph, range(20))), hashes(*map(photograph, range(20, 40))))
    assert abs(others.mean() - 32) < 2
    assert others.min() > 12


def test_the_distance_counts_the_bits_that_differ() -> None:
    asked, known = np.array([0, 2**63 + 5], dtype=np.uint64), np.array([0, 7], dtype=np.uint64)
    assert hamming(asked, known).tolist() == [[0, 3], [3, 2]]


def test_a_hash_is_64_bits_and_a_picture_without_content_has_one_too() -> None:
    assert 0 <= perceptual_hash(draw(1).convert("RGB")) < 2**64
    assert perceptual_hash(Image.new("RGB", (5, 9), "white")) in range(2**64)


def test_flat_pictures_and_bars_of_slightly_other_brightness_have_one_hash() -> None:
    flat = {perceptual_hash(Image.new("RGB", (40, 36), (grey,) * 3)) for grey in range(0, 256, 5)}
    assert len(flat) <= 2
    bars = []
    for grey in (200, 203, 206):
        bar = np.full((64, 64, 3), 20, np.uint8)
        bar[:, 20:30] = grey
        bars.append(perceptual_hash(Image.fromarray(bar)))
    assert len(set(bars)) == 1
