"""What pretraining on formulas is worth before any fine-tuning: a linear probe on frozen features, few labels a class.

    python -m benchmarks.pretraining DATA [backbones/test_resnet ...]

DATA is a folder with `metadata.csv` (file_name, label, subject) and photographs, for instance the sign-language digits
of Mavi, "A New Dataset and Proposed Convolutional Neural Network Architecture for Classification of American Sign
Language Digits" (arXiv:2011.08927, 2020). The same logistic regression reads three kinds of features: each pretrained
network's, those of the same network with random weights, and the pixels themselves. Subjects of the training and the
test images are disjoint in each draw. Without folders, all bundled backbones are read. Exits 0 only when every bar
holds; a bar lies a few points below what was measured when the weights were made, so that it catches weights or code
that have lost what they had, and not the rounding of another machine.
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
from timm.models import get_pretrained_cfg
from torch import nn

from tasks.images import decode
from tasks.scorer import outputs_of, to_pixels

LABELS, DRAWS = 10, 3  # labels a class; draws of subjects, of labels and of random weights
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse strengths; each kind of features gets its own from its training images
FOLDS = 5
PRETRAINED, RANDOM, PIXELS = "pretrained", "random weights", "raw pixels"
BUNDLED = ("test_resnet", "test_convnext", "test_vit")
# architecture -> the least accuracy in %, the least gain over random weights and over raw pixels in points
BARS = {"test_resnet": (76.0, 25.0, 20.0), "test_convnext": (66.0, 40.0, 16.0), "test_vit": (37.5, 19.7, -11.7)}


def main() -> int:
    """Probe every kind of features in each draw, print the table, and judge the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("backbones", type=Path, nargs="*", default=[Path("backbones", name) for name in BUNDLED])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(asked.data / "metadata.csv", dtype=str)
    recipes = [
        json.loads((folder / "pretrain.json").read_text(encoding="utf-8"))["recipe"] for folder in asked.backbones
    ]
    (size,) = {recipe["image_size"] for recipe in recipes}  # one reading of the photographs serves them all
    pixels = read_pixels(asked.data, table, size)
    rows = [(recipe["architecture"], kind) for recipe in recipes for kind in (PRETRAINED, RANDOM)] + [(PIXELS, "")]
    accuracy = pd.DataFrame(index=range(DRAWS), columns=pd.MultiIndex.from_tuples(rows), dtype=float)
    for draw in range(DRAWS):
        train, test = draw_rows(table, draw)
        groups, labels = table["subject"].to_numpy(), table["label"].to_numpy()
        for folder, recipe in zip(asked.backbones, recipes, strict=True):
            for kind in (PRETRAINED, RANDOM):
                features = features_of(kind, pixels, recipe, folder, draw)
                accuracy.loc[draw, (recipe["architecture"], kind)] = 100 * probe(features, labels, groups, train, test)
        accuracy.loc[draw, (PIXELS, "")] = 100 * probe(pixels.flatten(1).float().numpy(), labels, groups, train, test)
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


def features_of(kind: str, pixels: torch.Tensor, recipe: dict[str, Any], folder: Path, draw: int) -> np.ndarray:
    """The features of one architecture at pretrained or random weights, float (N, D)."""
    torch.manual_seed(draw)
    cfg = get_pretrained_cfg(recipe["architecture"])
    options: dict[str, Any] = {"img_size": recipe["image_size"]} if cfg and cfg.fixed_input_size else {}
    net: nn.Module = timm.create_model(recipe["architecture"], pretrained=False, num_classes=0, **options)
    if kind == PRETRAINED:
        net.load_state_dict(load_file(folder / "backbone.safetensors"), strict=True)
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
    for row in accuracy.columns:
        each = "  ".join(f"{value:5.1f}" for value in accuracy[row])
        print(f"  {row[0]:<14}{row[1]:<16}{accuracy[row].mean():6.1f} +- {accuracy[row].std():.1f}    {each}")


def judge(accuracy: pd.DataFrame) -> int:
    """0 when every bar holds, else 1; NaN holds no bar; an architecture without bars has its line of the table."""
    mean, held = accuracy.mean(skipna=False), True
    for name, bars in BARS.items():
        if (name, PRETRAINED) not in accuracy.columns:
            continue
        ours = mean[(name, PRETRAINED)]
        found = (ours, ours - mean[(name, RANDOM)], ours - mean[(PIXELS, "")])
        what = ("mean accuracy %", "minus random weights, points", "minus raw pixels, points")
        for said, value, bar in zip(what, found, bars, strict=True):
            held &= bool(value >= bar)
            print(f"  {'PASS' if value >= bar else 'FAIL'}  {name}, {said}: {value:.1f}, bar {bar:.1f}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
