"""Attributions and probes against what theory, scikit-learn and scipy say."""

import numpy as np
import pytest
import timm
import torch
from scipy.stats import spearmanr
from sklearn.metrics import auc
from torch import nn

from tasks.attacks import Network
from tasks.attributions import (
    area,
    background,
    blurred,
    curve,
    donors,
    frame,
    integrated_gradients,
    otsu,
    over_cells,
    rank_correlation,
)

PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}
IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def linear(weights: torch.Tensor) -> Network:
    """Two classes; the first's logit is the sum of weights (3, 16, 16) times pixels, the other's is 0."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([weights.flatten(), torch.zeros(weights.numel())]))
    return Network(net, PLAIN)


def test_attributions_of_a_linear_network_are_weight_times_difference() -> None:
    weights = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2))
    baselines = blurred(IMAGES, 0.2)
    found = integrated_gradients(linear(weights), IMAGES, baselines, torch.zeros(6, dtype=torch.long), 4)
    assert torch.allclose(found, (weights * (IMAGES - baselines)).sum(1), atol=1e-5)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_attributions_add_up_to_the_change_of_the_logit(architecture: str) -> None:
    torch.manual_seed(5)
    options = {"img_size": 64} if "vit" in architecture else {}
    net = timm.create_model(architecture, num_classes=4, **options)
    network = Network(net, {"mean": [0.5] * 3, "std": [0.25] * 3})
    images = torch.rand(2, 3, 64, 64)
    targets = network(images).argmax(1)
    found = integrated_gradients(network, images, blurred(images, 0.15), targets, 32)
    change = (network(images) - network(blurred(images, 0.15)))[torch.arange(2), targets]
    assert found.sum((1, 2)).tolist() == pytest.approx(change.tolist(), abs=0.02 * float(change.abs().max()) + 1e-4)
    assert found.abs().sum() > 0


def test_cells_are_means_of_their_pixels() -> None:
    maps = torch.arange(16.0).view(1, 4, 4)
    assert over_cells(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]


def test_blur_keeps_a_flat_image_and_flattens_a_busy_one() -> None:
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(blurred(flat, 0.1), flat)
    assert blurred(IMAGES, 0.5).std() < 0.2 * IMAGES.std()


def test_taking_out_what_matters_first_hurts_first() -> None:
    weights = torch.zeros(3, 16, 16)
    weights[:, :4, :4] = 1  # one of 16 cells decides
    network, images, baselines = linear(weights), torch.ones(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    forwards, target = torch.arange(16)[None], torch.zeros(1, dtype=torch.long)
    ends = [float(torch.sigmoid(torch.tensor(x))) for x in (48.0, 0.0)]  # the logit is 48 with the cell, 0 without
    first = curve(network, images, baselines, target, forwards, 1.0)[0]
    last = curve(network, images, baselines, target, forwards.flip(1), 1.0)[0]
    assert first.tolist() == pytest.approx([ends[0], *[ends[1]] * 4])
    assert last.tolist() == pytest.approx([*[ends[0]] * 4, ends[1]])


def test_areas_are_scikit_learns() -> None:
    curves = np.random.default_rng(3).random((4, 17))
    assert area(curves) == pytest.approx([auc(np.linspace(0, 1, 17), row) for row in curves])


def test_rank_correlation_is_scipys_and_not_a_number_for_a_constant() -> None:
    random = np.random.default_rng(4)
    ours, theirs = random.integers(0, 6, (5, 40)), random.integers(0, 6, (5, 40))
    wanted = [spearmanr(a, b).statistic for a, b in zip(ours, theirs, strict=True)]
    assert rank_correlation(ours, theirs) == pytest.approx(wanted)
    assert np.isnan(rank_correlation(np.ones((1, 5)), np.arange(5.0)[None])).all()


@pytest.mark.parametrize(("width", "pixels"), [(0.1, 2), (0.01, 1)])
def test_the_frame_is_as_wide_as_asked_and_one_pixel_at_least(width: float, pixels: int) -> None:
    mask = frame(20, width)
    assert int(mask.sum()) == 400 - (20 - 2 * pixels) ** 2
    assert not mask[pixels : 20 - pixels, pixels : 20 - pixels].any()


def test_otsu_is_the_split_with_the_least_variance_within() -> None:
    random = np.random.default_rng(6)
    values = np.concatenate([random.normal(20, 6, 300), random.normal(70, 9, 120)]).clip(0, 99).astype(int)

    def within(level: int) -> float:
        parts = values[values <= level], values[values > level]
        return sum(len(part) * part.var() for part in parts)

    best = min(range(values.min(), values.max()), key=within)
    assert otsu(np.bincount(values, minlength=100)) == best


def test_paper_is_background_and_ink_is_not() -> None:
    images = torch.full((1, 3, 20, 20), 0.8)
    images[:, :, 6:14, 8:12] = 0.1
    mask, colour = background(images, frame(20, 0.1))
    assert torch.equal(mask[0, 0], images[0, 0] > 0.5)
    assert colour.flatten().tolist() == pytest.approx([0.8] * 3)


def test_a_donor_has_another_label() -> None:
    labels = np.array(["a", "b", "a", "c"])
    found = donors(labels, np.random.default_rng(1))
    assert (labels[found] != labels).all()
    assert donors(np.array(["a", "a"]), np.random.default_rng(1)).tolist() == [-1, -1]
