"""Formula images are the same for the same seed, differ between classes, and are randomised as far as asked."""

import numpy as np
import pytest
import torch

from tasks.formula_images import draw_atoms, draw_figures, draw_polygons, draw_strokes, randomise, spline

FAMILIES = (draw_strokes, draw_polygons, draw_atoms)


@pytest.fixture(scope="module")
def figures() -> torch.Tensor:
    return torch.from_numpy(draw_figures(classes=8, instances=8, size=32, seed=5)).flatten(0, 1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_figures_repeat_with_the_seed_and_a_larger_set_begins_with_the_smaller() -> None:
    small, large = draw_figures(2, 3, 32, 5), draw_figures(4, 3, 32, 5)
    assert small.shape == (2, 3, 32, 32)
    assert np.array_equal(small, large[:2])
    assert not np.array_equal(small, draw_figures(2, 3, 32, 6))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shows_a_figure_and_leaves_ground(family: object) -> None:
    for seed in range(10):
        shares = (family(4, 32, np.random.default_rng(seed)) > 127).mean((1, 2))  # type: ignore[operator]
        assert shares.min() > 0.005, (seed, shares)
        assert shares.max() < 0.8, (seed, shares)


def test_instances_of_a_class_are_nearer_to_each_other_than_to_other_classes() -> None:
    mean = draw_figures(classes=24, instances=16, size=32, seed=5).reshape(24, 2, 8, -1).mean(2)
    distance = np.linalg.norm(mean[:, None, 0] - mean[None, :, 1], axis=-1)  # first half against second
    assert (distance.argmin(1) == np.arange(24)).mean() > 0.9


def test_instances_of_a_class_differ() -> None:
    figures = draw_figures(classes=8, instances=8, size=32, seed=5)
    assert all(len(np.unique(own.reshape(8, -1), axis=0)) == 8 for own in figures)


def test_spline_passes_through_its_points() -> None:
    points = np.array([[[0.0, 0.0], [1.0, 0.5], [0.2, 1.0]]])
    assert np.allclose(spline(points, steps=4)[:, ::4], points)


def test_strength_zero_leaves_the_white_figure_on_black(figures: torch.Tensor) -> None:
    pictures = randomise(figures, 0.0, 32, generator())
    assert torch.allclose(pictures, (figures[:, None].float() / 255).expand(-1, 3, -1, -1), atol=1e-5)


def test_full_strength_colours_either_way_round_and_keeps_the_range(figures: torch.Tensor) -> None:
    pictures = randomise(figures, 1.0, 24, generator())
    assert pictures.shape == (64, 3, 24, 24)
    assert 0 <= pictures.min() < pictures.max() <= 1
    ground = pictures[:, :, 0, 0].mean(1)  # a corner
    assert 0.25 < (ground > pictures.amin((1, 2, 3)) + 0.3).float().mean() < 0.95
    assert (pictures.std(1).mean((1, 2)) > 0.01).float().mean() > 0.9  # coloured


def test_randomisation_repeats_with_the_generator_alone(figures: torch.Tensor) -> None:
    first = randomise(figures, 1.0, 32, generator())
    torch.rand(1)  # torch's own generator is not used
    assert torch.equal(first, randomise(figures, 1.0, 32, generator()))


def test_randomisation_grows_with_strength(figures: torch.Tensor) -> None:
    plain = randomise(figures, 0.0, 32, generator())
    away = [float((randomise(figures, k, 32, generator()) - plain).abs().mean()) for k in (0.2, 0.5, 1.0)]
    assert 0 < away[0] < away[1] < away[2]
