"""What is measured of forgetting: CKA by its other formula, and a probe of the source task."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from tasks.forgetting import features_of, linear_cka, probe_accuracy, source_pictures


def cka_by_kernels(one: np.ndarray, other: np.ndarray) -> float:
    """HSIC of centred Gram matrices: equations 3 and 4 of Kornblith et al. 2019."""
    n = len(one)
    centring = np.eye(n) - 1 / n
    k, m = centring @ one @ one.T @ centring, centring @ other @ other.T @ centring
    return float(np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m)))


def test_cka_is_that_of_the_kernels() -> None:
    random = np.random.default_rng(0)
    one, noise = random.normal(size=(50, 8)), random.normal(size=(50, 5))
    other = one[:, :5] @ random.normal(size=(5, 5)) + noise
    assert linear_cka(one, other) == pytest.approx(cka_by_kernels(one, other))


def test_cka_ignores_rotation_scale_and_offset_and_is_undefined_for_a_constant() -> None:
    random = np.random.default_rng(1)
    one = random.normal(size=(40, 6))
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    assert linear_cka(one, 3 * one @ rotation + 7) == pytest.approx(1)
    assert np.isnan(linear_cka(one, np.ones((40, 3))))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_features_are_what_the_classifier_reads(architecture: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(architecture, num_classes=4).eval()
    size = net.pretrained_cfg["input_size"][-1]
    pixels = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    features = features_of(net, pixels, [0.5] * 3, [0.5] * 3)
    with torch.inference_mode():
        expected = net((pixels.float() / 255 - 0.5) / 0.5)
        read = net.get_classifier()(torch.from_numpy(features).float())
    assert torch.allclose(read, expected, atol=1e-4)


def test_source_task_is_drawn_from_the_recipe_beside_the_weights(tmp_path: Path) -> None:
    assert source_pictures(tmp_path / "backbone.safetensors", 32) is None
    recipe = {"classes": 5, "image_size": 32, "seed": 3}
    (tmp_path / "pretrain.json").write_text(json.dumps({"recipe": recipe}))
    drawn = source_pictures(tmp_path / "backbone.safetensors", 32)
    assert drawn is not None
    pictures, classes = drawn
    assert pictures.shape == (120, 3, 32, 32)
    assert np.unique(classes, return_counts=True)[1].tolist() == [24] * 5


def test_probe_reads_what_is_there_and_nothing_else() -> None:
    random = np.random.default_rng(2)
    classes = np.repeat(np.arange(4), 30)
    clear = np.eye(4)[classes] + random.normal(0, 0.1, (120, 4))
    assert probe_accuracy(clear, classes) == 1
    assert probe_accuracy(random.normal(size=(120, 4)), classes) < 0.5
