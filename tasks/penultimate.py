"""What a fine-tuned model says of an image and what it sees: probabilities, and the features before its last layer."""

import threading
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.scorer import Scorer


class Seen(threading.local):
    """What reached the classifier in this thread's forward pass."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []


class FeatureScorer(Scorer):
    """A model folder, loaded, that also gives the inputs of its classifier; one forward pass for both.

    Several threads may ask at once.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        super().__init__(folder, device)
        self.seen = Seen()
        classifier: nn.Module = self.net.get_classifier()  # type: ignore[operator]
        classifier.register_forward_pre_hook(self._keep)

    def answer(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, 3, S, S) -> probabilities, float64 (N, K), and features, float16 (N, D)."""
        self.seen.parts = []
        probabilities = self.probabilities(pixels)
        features = torch.cat(self.seen.parts)
        self.seen.parts = []
        return probabilities, in_halves(features)

    def _keep(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.seen.parts.append(inputs[0].detach().float().cpu().flatten(1))


def in_halves(features: torch.Tensor) -> np.ndarray:
    """Features as they are kept: in half precision, those beyond its range at its end."""
    most = float(np.finfo(np.float16).max)
    return np.clip(features.numpy(), -most, most).astype(np.float16)
