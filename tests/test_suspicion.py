"""The three scores, each against its definition by another library."""

import numpy as np
import torch
from scipy.ndimage import median_filter
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from tasks.fit_guard import fit_distances
from tasks.suspicion import distances, high_frequency, moved, squeezed


def test_distance_is_mahalanobis_to_the_nearest_class_under_the_shrunk_covariance() -> None:
    random = np.random.default_rng(0)
    targets = np.arange(60) % 3
    features = random.normal(size=(60, 5)) @ random.normal(size=(5, 5)) + 4 * np.eye(3, 5)[targets]
    asked = random.normal(size=(8, 5)) * 5
    means = np.stack([features[targets == k].mean(axis=0) for k in range(3)])
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(features - means[targets]).covariance_)
    wanted = [min(mahalanobis(row, mean, precision) for mean in means) for row in asked]
    np.testing.assert_allclose(distances(asked, *fit_distances(features, targets, 3)), wanted, rtol=1e-4)


def test_feature_that_never_varies_gives_no_infinite_distance_to_images_that_have_it() -> None:
    features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float16)
    features[:, 3] = 2
    whitener, centres = fit_distances(features, np.arange(40) % 2, 2)
    assert np.isfinite(distances(features, whitener, centres)).all()
    assert distances(features, whitener, centres).max() < 20


def test_squeezed_copies_are_rounded_levels_and_scipy_s_median() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 9), dtype=np.uint8)
    copies = squeezed(torch.from_numpy(pixels), bits=2, window=3).numpy()
    assert copies.shape == (4, 3, 9, 9)
    assert set(np.unique(copies[:2])) == {0, 85, 170, 255}
    assert np.abs(copies[:2].astype(int) - pixels).max() <= 43
    np.testing.assert_array_equal(copies[2:], median_filter(pixels, (1, 1, 3, 3), mode="mirror"))


def test_an_answer_has_moved_by_the_larger_l1_distance() -> None:
    told = np.array([[1.0, 0.0], [0.5, 0.5]])
    again = np.array([[1.0, 0.0], [0.4, 0.6], [0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(moved(told, again), [2.0, 0.2])


def test_high_frequency_is_the_share_of_waves_beyond_the_radius() -> None:
    rows, columns = np.mgrid[:16, :16]
    slow, fine = np.cos(2 * np.pi * columns / 16), np.cos(np.pi * (rows + columns))  # of energy 1 / 2 and 1
    images = [128 + 40 * slow, 128 + 40 * fine, 128 + 30 * slow + 30 * fine, np.full((16, 16), 90)]
    pixels = torch.from_numpy(np.stack([np.stack([i] * 3) for i in images]).round().astype(np.uint8))
    np.testing.assert_allclose(high_frequency(pixels, 1.0), [0, 1, 2 / 3, 0], atol=0.005)
