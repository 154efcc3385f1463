"""Corruptions leave an image alone at severity 0, hurt more with severity, and depend on the image's own seed alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from tasks.conditions import CONDITIONS
from tasks.corruptions import CORRUPTIONS, GAUSSIAN, IMPULSES, JPEG, LIGHT, PHOTONS, corrupt
from tasks.errors import BadInput

SIDE = 64
SEEDS = range(12)


def pictures() -> torch.Tensor:
    """uint8 (12, 3, 64, 64): coloured patches of many sizes with some grain, half of them without colour."""
    random = np.random.default_rng(0)
    made = []
    for number in range(12):
        coarse = [random.integers(0, 255, (size, size, 3), dtype=np.uint8) for size in (3, 9, SIDE)]
        layers = [np.asarray(Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for c in coarse]
        picture = np.mean(layers, axis=0)
        made.append(picture if number % 2 else picture.mean(axis=2, keepdims=True).repeat(3, axis=2))
    return torch.from_numpy(np.stack(made).round().astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


PICTURES = pictures()
GREY = torch.full((8, 3, SIDE, SIDE), 128, dtype=torch.uint8)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).square().mean().sqrt())


@pytest.mark.parametrize("name", [*CORRUPTIONS, *CONDITIONS])
def test_severity_zero_is_the_image_itself(name: str) -> None:
    assert torch.equal(corrupt(name, PICTURES, 0, SEEDS), PICTURES)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_distance_from_the_image_grows_with_severity(name: str) -> None:
    distances = [distance(corrupt(name, PICTURES, severity, SEEDS), PICTURES) for severity in range(6)]
    assert distances == sorted(distances)
    assert len(set(distances)) == 6


@pytest.mark.parametrize("name", [*CORRUPTIONS, *CONDITIONS])
def test_an_image_is_corrupted_alike_whatever_else_is_in_the_batch(name: str) -> None:
    whole = corrupt(name, PICTURES, 3, SEEDS)
    assert whole.dtype == torch.uint8
    assert whole.shape == PICTURES.shape
    assert torch.equal(corrupt(name, PICTURES[7:8], 3, [7]), whole[7:8])
    drawn = name in ("gaussian noise", "shot noise", "impulse noise", "motion blur", "fog", "elastic transform")
    assert torch.equal(corrupt(name, PICTURES[7:8], 3, [99]), whole[7:8]) != (drawn or name in ("noise", "skew"))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_without_colour_stays_without(name: str) -> None:
    changed = corrupt(name, PICTURES[::2], 4, SEEDS[::2])
    assert (changed - changed[:, :1]).abs().max() == 0


def test_gaussian_noise_has_its_standard_deviation() -> None:
    noise = corrupt("gaussian noise", GREY, 2, range(8))[:, 0].float() / 255 - 128 / 255
    assert float(noise.std()) == pytest.approx(GAUSSIAN[1], rel=0.02)


def test_shot_noise_has_the_variance_of_its_photons() -> None:
    light = corrupt("shot noise", GREY, 1, range(8))[:, 0].float() / 255
    assert float(light.mean()) == pytest.approx(128 / 255, rel=0.005)
    assert float(light.var()) == pytest.approx(128 / 255 / PHOTONS[0], rel=0.03)


def test_impulse_noise_turns_its_share_of_pixels_black_and_white_alike() -> None:
    changed = corrupt("impulse noise", GREY, 4, range(8))[:, 0]
    black, white, n = int((changed == 0).sum()), int((changed == 255).sum()), changed.numel()
    assert binomtest(black, n, IMPULSES[3] / 2).pvalue > 0.001
    assert binomtest(white, n, IMPULSES[3] / 2).pvalue > 0.001
    assert black + white + int((changed == 128).sum()) == n


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    colour = torch.tensor([100, 60, 20], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    changed = corrupt("brightness", colour, 1, [0])[0, :, 0, 0].double()
    assert changed[0] == pytest.approx(100 + 255 * LIGHT[0], abs=0.6)
    assert (changed / changed[0]).tolist() == pytest.approx([1, 0.6, 0.2], abs=0.01)


def test_blur_keeps_the_light_and_fades_a_point_as_far_as_its_disk_reaches() -> None:
    point = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    point[:, :, 28:36, 28:36] = 255
    changed = corrupt("defocus blur", point, 5, [0]).double()
    assert float(changed.sum()) == pytest.approx(float(point.double().sum()), rel=0.01)
    assert changed[0, 0, 32, 36 + 2] > 0
    assert changed[0, 0, 32, 36 + 3] == 0


def test_jpeg_is_pillows() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURES[1].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=JPEG[4])
    wanted = torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1)
    assert torch.equal(corrupt("jpeg compression", PICTURES[1:2], 5, [0])[0], wanted)


def test_lengths_grow_with_the_side() -> None:
    double = PICTURES.repeat_interleave(2, 2).repeat_interleave(2, 3)
    large, small = (corrupt("defocus blur", x, 5, SEEDS) for x in (double, PICTURES))
    assert distance(large[:, :, ::2, ::2], small) < 0.35 * distance(small, PICTURES)


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("fog", 6), ("fog", -1)])
def test_what_there_is_not_is_an_error_that_says_what_there_is(name: str, severity: int) -> None:
    with pytest.raises(BadInput, match=r"there are gaussian noise|is none of 0"):
        corrupt(name, PICTURES, severity, SEEDS)
