"""What pretraining on formulas is worth before any fine-tuning: a linear probe on frozen features, few labels a class.

    python benchmarks/pretraining.py DATA [backbones/test_resnet]

DATA is a folder with `metadata.csv` (file_name, label, subject) and photographs, for instance the sign-language digits
of Mavi, "A New Dataset and Proposed Convolutional Neural Network Architecture for Classification of American Sign
Language Digits" (arXiv:2011.08927, 2020). The same logistic regression reads three kinds of features: the pretrained
network's, those of the same network with random weights, and the pixels themselves. Subjects of the training and the
test images are disjoint in each draw. Exits 0 only when every bar holds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tasks.images import decode
from tasks.scorer import outputs_of, to_pixels

LABELS, DRAWS = 10, 3  # labels a class; draws of subjects, of labels and of random weights
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse strengths; each kind of features gets its own from its training images
FOLDS = 5
ROWS = ("pretrained", "random weights", "raw pixels")
BARS = {"pretrained, mean accuracy %": 76.0, "pretrained minus random weights, points": 25.0}
BARS["pretrained minus raw pixels, points"] = 20.0


def main() -> int:
    """Probe the three kinds of features in each draw, print the table, and judge the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("backbone", type=Path, nargs="?", default=Path("backbones/test_resnet"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(asked.data / "metadata.csv", dtype=str)
    recipe = json.loads((asked.backbone / "pretrain.json").read_text(encoding="utf-8"))["recipe"]
    pixels = read_pixels(asked.data, table, recipe["image_size"])
    labels = table["label"].to_numpy()
    accuracy = pd.DataFrame(index=range(DRAWS), columns=ROWS, dtype=float)
    for draw in range(DRAWS):
        train, test = draw_rows(table, draw)
        for row in ROWS:
            features = features_of(row, pixels, recipe, asked.backbone, draw)
            accuracy.loc[draw, row] = 100 * probe(features, labels, table["subject"].to_numpy(), train, test)
    show(accuracy, len(test))
    return judge(accuracy)


def read_pixels(root: Path, table: pd.DataFrame, size: int) -> torch.Tensor:
    """The photographs in the table's order, uint8 (N, 3, size, size)."""
    images = [to_pixels(decode((root / name).read_bytes(), name), size) for name in table["file_name"]]
    return torch.from_numpy(np.stack(images))


def draw_rows(table: pd.DataFrame, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of LABELS training images a class from half of the subjects, and of all images of the others."""
    random = np.random.default_rng(draw)
    subjects = random.permutation(np.sort(table["subject"].unique()))
    ours = table["subject"].isin(subjects[: len(subjects) // 2]).to_numpy()
    shuffled = random.permutation(np.flatnonzero(ours))
    train = pd.Series(shuffled).groupby(table["label"].to_numpy()[shuffled]).head(LABELS).to_numpy()
    test = np.flatnonzero(~ours)
    if set(table["subject"].iloc[train]) & set(table["subject"].iloc[test]):
        raise AssertionError(f"draw {draw}: a subject is in training and test")
    return train, test


def features_of(row: str, pixels: torch.Tensor, recipe: dict[str, Any], backbone: Path, draw: int) -> np.ndarray:
    """The features of one row of the table, float (N, D)."""
    if row == "raw pixels":
        return pixels.flatten(1).float().numpy()
    torch.manual_seed(draw)
    net: nn.Module = timm.create_model(recipe["architecture"], pretrained=False, num_classes=0)
    if row == "pretrained":
        net.load_state_dict(load_file(backbone / "backbone.safetensors"), strict=True)
    net.eval()
    return outputs_of(net, pixels, recipe["mean"], recipe["std"]).numpy()


def probe(features: np.ndarray, labels: np.ndarray, subjects: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """The test accuracy of a logistic regression on the standardised features, tuned on the training images alone."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    grid = {"logisticregression__C": PENALTIES}
    search = GridSearchCV(model, grid, cv=GroupKFold(FOLDS)).fit(features[train], labels[train], groups=subjects[train])
    return float(search.score(features[test], labels[test]))


def show(accuracy: pd.DataFrame, tested: int) -> None:
    """Mean and standard deviation over draws, and each draw."""
    print(f"accuracy %, {LABELS} labels a class, {DRAWS} draws, about {tested} test images of other subjects each")
    for row in ROWS:
        each = "  ".join(f"{value:5.1f}" for value in accuracy[row])
        print(f"  {row:<16}{accuracy[row].mean():6.1f} +- {accuracy[row].std():.1f}    {each}")


def judge(accuracy: pd.DataFrame) -> int:
    """0 when every bar holds, else 1; NaN holds no bar."""
    mean = accuracy.mean(skipna=False)
    gains = [mean["pretrained"], *(mean["pretrained"] - mean[row] for row in ROWS[1:])]
    verdicts = [found >= bar for found, bar in zip(gains, BARS.values(), strict=True)]
    for (name, bar), found, held in zip(BARS.items(), gains, verdicts, strict=True):
        print(f"  {'PASS' if held else 'FAIL'}  {name}: {found:.1f}, bar {bar:.1f}")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
