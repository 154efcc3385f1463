"""A model that only answers, faster: its graph is traced once, and normalisation is folded into the convolutions.

Batch normalisation with fixed statistics is an affine map, which the convolution before it can carry out (Jacob et al.
2018, "Quantization and training of neural networks...", section 3.2); `torch.jit.freeze` does that. Answers differ by
rounding alone, which is checked as the model is loaded: one that differs by more is asked as it was trained.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.penultimate import FeatureScorer, in_halves
from tasks.scorer import BATCH, normalise

APART = 1e-3  # of a probability, or of the largest feature; half precision alone rounds by 0.0005
WARM = (1, 1, 1, 2, 2, 3, 3, 5)  # batches after which the graph has been specialised, so that no request waits for it
logger = logging.getLogger("tasks.frozen")


class FrozenScorer(FeatureScorer):
    """Answers as FeatureScorer does."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        super().__init__(folder, device)
        self.frozen: torch.jit.ScriptModule | None = None
        size = int(self.facts["image_size"])
        probes = torch.randint(256, (max(WARM), 3, size, size), generator=torch.Generator().manual_seed(0)).byte()
        asked = FeatureScorer.answer(self, probes)
        try:
            self.frozen = self._freeze(probes[:2])
            said = [self.answer(probes[:images]) for images in WARM]
        except Exception as error:  # the graph depends on its input, or holds what cannot be traced
            self.frozen = None
            logger.warning("%s is asked unfrozen: %s", folder, (str(error).strip() or repr(error)).splitlines()[0])
            return
        pairs = [(one, other[: len(one)]) for answer in said for one, other in zip(answer, asked, strict=True)]
        if not all(is_near(one, other) for one, other in pairs):
            self.frozen = None
            logger.warning("%s is asked unfrozen: frozen it answers otherwise", folder)

    def answer(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, 3, S, S) -> probabilities, float64 (N, K), and features, float16 (N, D)."""
        if self.frozen is None:
            return super().answer(pixels)
        with torch.inference_mode():
            parts = [self.frozen(self._normalised(part)) for part in pixels.split(BATCH)]
            logits, features = (torch.cat([part[which].float().cpu() for part in parts]) for which in (0, 1))
        return self.calibrated(logits), in_halves(features)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalise(pixels.to(self.device), self.facts["mean"], self.facts["std"])

    def _freeze(self, example: torch.Tensor) -> torch.jit.ScriptModule:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter(
                "ignore"
            )  # that tracing is no longer developed, and each shape that it takes as fixed
            torch._C._jit_set_texpr_fuser_enabled(False)  # it compiles for each batch size
            traced = torch.jit.trace(Both(self), self._normalised(example), check_trace=False)
            return torch.jit.freeze(traced.eval())


class Both(nn.Module):
    """Logits and features as one module."""

    def __init__(self, scorer: FeatureScorer) -> None:
        super().__init__()
        self.net, self.seen = scorer.net, scorer.seen

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised (N, 3, S, S) -> logits (N, K) and what reached the classifier (N, D)."""
        self.seen.parts = []
        logits = self.net(images)
        return logits, self.seen.parts.pop()


def is_near(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two answers differ by rounding at most."""
    scale = max(1.0, float(np.abs(other).max()))
    return bool(np.isfinite(one).all() and np.abs(one.astype(float) - other).max() <= APART * scale)
