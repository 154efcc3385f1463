"""The stage attribute: the same bytes for every kind of network, and a planted shortcut does not go unseen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_stress import write_data, write_model
from torch import nn

from tasks.attacks import Network
from tasks.attribute import attribute, probes
from tasks.attributions import donors, frame
from tasks.gallery import choose
from tasks.params import AttributeParams
from tasks.predictions import ATTRIBUTED

PARAMS = AttributeParams(images=12, steps=4, cells=4, orders=2, blur=0.2, border=0.1, shown=3, seed=5)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_every_architecture_is_attributed_and_twice_the_same(
    architecture: str, tmp_path: Path, own_state: Path
) -> None:
    write_data(tmp_path)
    size = 64 if "vit" in architecture else 32
    inputs = {"data": tmp_path / "data", "manifest": tmp_path / "split"}
    inputs["model"] = write_model(tmp_path / "model", architecture, 1, size)
    first, again = (attribute.fn(**inputs, params=PARAMS, out=tmp_path / name) for name in ("first", "again"))
    names = ["attributions.parquet", "gallery.png", "gallery.csv"]
    assert [(first / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]
    table = pd.read_parquet(first / "attributions.parquet")
    assert len(table) == 12
    assert np.isfinite(table[list(ATTRIBUTED)].to_numpy()).all()
    assert table["border_share"].between(0, 1).all()
    assert table["random_weights_correlation"].abs().max() <= 1
    assert Image.open(first / "gallery.png").height % (2 * 96 + 12) == 0


def two_patches() -> tuple[torch.Tensor, np.ndarray]:
    """Images of two classes: told by ink in the middle, and by a patch in a corner of the border that says the same."""
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.6
    labels = np.arange(40) % 2
    for image, label in zip(images, labels, strict=True):
        image[:, 8:24, 10:14] = 0.1 if label else 0.4
        image[:, :3, :3] = 1.0 if label else 0.0
    return images, labels


class Reads(nn.Module):
    """Answers by the mean of one region: dark is `dark`, light the other class."""

    def __init__(self, rows: slice, columns: slice, middle: float, dark: int) -> None:
        super().__init__()
        self.rows, self.columns, self.middle, self.sign = rows, columns, middle, 1 if dark else -1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        darkness = (self.middle - images[:, :, self.rows, self.columns].mean((1, 2, 3))) * self.sign
        return torch.stack([-darkness, darkness], dim=1)


CORNER, INK = Reads(slice(0, 3), slice(0, 3), 0.5, dark=0), Reads(slice(8, 24), slice(10, 14), 0.25, dark=1)


def reliance(net: nn.Module, images: torch.Tensor, labels: np.ndarray) -> dict[str, float]:
    network = Network(net, {"mean": [0.0] * 3, "std": [1.0] * 3})
    targets = network(images).argmax(1)
    found = probes(network, images, targets, frame(32, 0.1), donors(labels, np.random.default_rng(2)))
    return {name: float(values.mean()) for name, values in found.items()}


def test_a_network_that_reads_a_mark_in_the_border_is_caught() -> None:
    images, labels = two_patches()
    assert reliance(CORNER, images, labels)["border_changes"] == 1
    assert reliance(INK, images, labels) == {"border_changes": 0, "background_changes": 0}


def test_a_network_that_reads_the_colour_of_the_background_is_caught() -> None:
    images, labels = two_patches()
    for image, label in zip(images, labels, strict=True):
        image[:, :, 14:] += 0.2 if label else 0.0
        image[:, 3:, :10] += 0.2 if label else 0.0
        image[:, 3:8, 10:14] += 0.2 if label else 0.0
        image[:, 24:, 10:14] += 0.2 if label else 0.0
    middle = float(images[:, :, 5:27, 20:27].mean())
    reader = Reads(slice(5, 27), slice(20, 27), middle, dark=0)
    assert reliance(reader, images, labels)["background_changes"] == 1
    assert reliance(INK, images, labels)["background_changes"] == 0


def test_one_class_alone_has_no_donors_and_no_number() -> None:
    images, _ = two_patches()
    assert np.isnan(list(reliance(INK, images, np.zeros(40)).values())).all()


def test_the_gallery_shows_the_surest_and_the_least_sure_once_each() -> None:
    right = np.array([True, True, True, True, True, False])
    confidence = np.array([0.9, 0.5, 0.8, 0.7, 0.6, 0.95])
    assert choose(right, confidence, 2) == [
        ("right, most sure", [0, 2]),
        ("right, least sure", [1, 4]),
        ("wrong, most sure", [5]),
    ]
