"""A frozen model answers as the model does, or is not used; every family of backbones is tried."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tasks import frozen
from tasks.frozen import FrozenScorer
from tasks.penultimate import FeatureScorer

FAMILIES = ("test_resnet", "test_convnext", "test_vit", "mobilenetv3_small_050", "efficientnet_lite0")


def write_network(folder: Path, architecture: str) -> Path:
    """A model folder with weights and statistics that are not the initial ones."""
    torch.manual_seed(0)
    net = timm.create_model(architecture, pretrained=False, num_classes=3)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "model.safetensors")
    facts = {"architecture": architecture, "options": {}, "classes": ["a", "b", "c"], "temperature": 0.7}
    facts |= {"image_size": net.pretrained_cfg["input_size"][1], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    (folder / "model.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("architecture", FAMILIES)
def test_it_answers_as_the_model_does_whatever_the_batch(tmp_path: Path, architecture: str) -> None:
    folder = write_network(tmp_path / "model", architecture)
    own, other = FrozenScorer(folder, "cpu"), FeatureScorer(folder, "cpu")
    assert own.frozen is not None
    size = own.facts["image_size"]
    for images in (1, 4, 7):
        pixels = torch.randint(256, (images, 3, size, size), generator=torch.Generator().manual_seed(images)).byte()
        (probabilities, features), (expected, seen) = own.answer(pixels), other.answer(pixels)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        np.testing.assert_allclose(features, seen, rtol=2e-3, atol=2e-3)


def test_one_that_answers_otherwise_is_asked_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frozen, "is_near", lambda one, other: False)
    folder = write_network(tmp_path / "model", "test_resnet")
    own = FrozenScorer(folder, "cpu")
    assert own.frozen is None
    assert "is asked unfrozen: frozen it answers otherwise" in caplog.text
    pixels = torch.zeros(2, 3, own.facts["image_size"], own.facts["image_size"], dtype=torch.uint8)
    for said, expected in zip(own.answer(pixels), FeatureScorer(folder, "cpu").answer(pixels), strict=True):
        assert np.array_equal(said, expected)


@pytest.mark.parametrize(("one", "near"), [(0.5001, True), (0.6, False), (np.nan, False)])
def test_near_is_by_rounding_alone(one: float, near: bool) -> None:
    assert frozen.is_near(np.array([[one, 0.5]]), np.array([[0.5, 0.5]])) is near
