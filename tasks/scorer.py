"""From an image file to class probabilities: the one path that evaluation, the nightly run and the logged model share.

This module and what it imports from `tasks` are shipped inside every logged model, so they import neither Prefect nor
MLflow nor Lightning.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from tasks.images import decode

WEIGHTS, FACTS = "model.safetensors", "model.json"
BATCH = 256


def to_pixels(image: Image.Image, size: int) -> np.ndarray:
    """An RGB image as uint8 (3, size, size): the whole image, resized with antialiasing to a square."""
    square = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def normalise(pixels: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """uint8 (N, 3, S, S) -> float32 of the same shape, in the backbone's units, channels last in memory."""
    return standardise(pixels.float() / 255, mean, std).contiguous(memory_format=torch.channels_last)


def standardise(images: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """float (N, 3, S, S) of 0 to 1 -> the same in the backbone's units."""
    centre = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    spread = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images - centre) / spread


def outputs_of(net: nn.Module, pixels: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """What a network says of uint8 (N, 3, S, S), on the CPU: logits (N, K), or features (N, D) without a head."""
    device = next(net.parameters()).device
    with torch.inference_mode():
        parts = [net(normalise(part.to(device), mean, std)).float().cpu() for part in pixels.split(BATCH)]
        return torch.cat(parts)


class Scorer:
    """A model folder, loaded: `model.safetensors` and the facts of `model.json`."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.classes: list[str] = self.facts["classes"]
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        options = {"num_classes": len(self.classes), **self.facts["options"]}
        self.net = timm.create_model(self.facts["architecture"], pretrained=False, **options)
        self.net.load_state_dict(load_file(folder / WEIGHTS))
        self.net.to(self.device).to(memory_format=torch.channels_last).eval()

    def probabilities(self, pixels: torch.Tensor) -> np.ndarray:
        """uint8 (N, 3, S, S) -> calibrated probabilities, float64 (N, K), rows summing to 1."""
        return self.calibrated(outputs_of(self.net, pixels, self.facts["mean"], self.facts["std"]))

    def calibrated(self, logits: torch.Tensor) -> np.ndarray:
        """Logits (N, K) -> probabilities, float64 (N, K)."""
        return torch.softmax(logits.double() / self.facts["temperature"], dim=1).numpy()

    def score_files(self, files: list[bytes]) -> np.ndarray:
        """The bytes of N image files -> probabilities (N, K); an unreadable one is an error that says why."""
        size = self.facts["image_size"]
        pixels = [to_pixels(decode(content, f"image {place}"), size) for place, content in enumerate(files)]
        return self.probabilities(torch.from_numpy(np.stack(pixels)))
