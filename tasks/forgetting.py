"""What fine-tuning did to the features that pretraining had made.

Two measures: linear CKA between the features of the fine-tuned and of the pretrained network on the same images
(Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", section 3: 1 when one is a rotation
and a uniform scaling of the other), and, where the source task is known, a linear probe of it before and after. The
bundled backbones were pretrained on formula classes, which tasks/formula_images.py draws again from the recipe that
lies beside the weights.
"""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from torch import nn

from tasks.formula_images import draw_figures, randomise
from tasks.scorer import normalise

RECIPE = "pretrain.json"  # beside the weights of a backbone that this repository pretrained
CLASSES, INSTANCES = 40, 24  # of the source task; chance is 2.5 %, and half of the instances are probed on
PENALTY = 10.0  # of the ridge probe on standardised features
BATCH = 256


def features_of(net: nn.Module, pixels: torch.Tensor, mean: list[float], std: list[float]) -> np.ndarray:
    """What the classifier would read of uint8 (N, 3, S, S), float64 (N, d)."""
    with torch.inference_mode():
        parts = [
            net.forward_head(net.forward_features(normalise(batch, mean, std)), pre_logits=True)  # type: ignore[operator]
            for batch in pixels.split(BATCH)
        ]
        return torch.cat(parts).flatten(1).double().numpy()


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of features (N, d) and (N, e) of the same images, 0 to 1; NaN where one does not vary."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    both = np.linalg.norm(other.T @ one) ** 2
    alone = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    return float(both / alone) if alone > 0 else float("nan")


def source_pictures(weights: Path, size: int) -> tuple[torch.Tensor, np.ndarray] | None:
    """Pictures of the source task, uint8 (N, 3, size, size), and their classes (N,); None where the task is unknown.

    `weights` is the file that the catalogue names: the recipe of a bundled backbone lies beside it.
    """
    file = weights.with_name(RECIPE)
    if not file.is_file():
        return None
    recipe = json.loads(file.read_text(encoding="utf-8"))["recipe"]
    classes = min(CLASSES, recipe["classes"])
    figures = torch.from_numpy(draw_figures(classes, INSTANCES, recipe["image_size"], recipe["seed"])).flatten(0, 1)
    pictures = randomise(figures, 1.0, size, torch.Generator().manual_seed(recipe["seed"]))
    return (pictures * 255).round().to(torch.uint8), np.repeat(np.arange(classes), INSTANCES)


def probe_accuracy(features: np.ndarray, classes: np.ndarray) -> float:
    """The accuracy of a ridge classifier on every second picture, fitted on the others."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    probe = RidgeClassifier(alpha=PENALTY).fit(scaled[::2], classes[::2])
    return float((probe.predict(scaled[1::2]) == classes[1::2]).mean())
