"""What the guard of a released model sees: ordinary images, strange ones, attacked ones; beside other scores.

    python -m benchmarks.guard [--quick] [--run runs/digits] [--data data] [--other FOLDER]

Reads the folders of a release (`keel release` makes them) and neither test nor mirror. Ordinary are the validation
images; strange are static, flat colour, shuffled tiles, turned and inverted images, common corruptions of validation
images, and with --other the photographs of another project. Each score gets its threshold in the same way (the
conformal rank of the calibration scores): Mahalanobis (Lee et al. 2018), which the guard uses, the relative one (Ren et
al. 2021), energy (Liu et al. 2020) and the largest probability. Bars: Mahalanobis, on which the model abstains, flags
no more validation images than chance allows; it finds at least as many strange images as each other score, and 95 % of
what is no picture of the kind at all; squeezing finds half of the images of a PGD attack of 2/255.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

from tasks.attacks import Network, attack
from tasks.corruptions import CORRUPTIONS, corrupt
from tasks.evaluators.conformal import conformal_quantile
from tasks.fit_guard import answer_all
from tasks.folders import read_folder
from tasks.guard import Guard
from tasks.images import decode
from tasks.penultimate import FeatureScorer
from tasks.pixels import load_pixels
from tasks.predictions import read_table
from tasks.scorer import Scorer, to_pixels
from tasks.suspicion import HIGH_FREQUENCY, OOD, SQUEEZING, distances, high_frequency, moved, squeezed

RATE, RADII, MOST = 0.01, (2, 4, 8), 200
FAR = ("static", "grey static", "flat colour", "shuffled tiles", "other photographs")
OURS, RELATIVE, ENERGY, LARGEST = "Mahalanobis", "relative", "energy", "largest probability"


def strange_images(images: torch.Tensor, other: Path | None, severities: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """uint8 (N, 3, S, S) of each kind, made of the ordinary images or out of nothing."""
    random, (count, _, side, _) = np.random.default_rng(0), images.shape
    grey = random.integers(0, 256, (count, 1, side, side), dtype=np.uint8).repeat(3, axis=1)
    flat = random.integers(0, 256, (count, 3, 1, 1), dtype=np.uint8) * np.ones((1, 1, side, side), dtype=np.uint8)
    drawn = random.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    kinds = {"static": drawn, "grey static": grey, "flat colour": flat}
    found = {name: torch.from_numpy(pixels) for name, pixels in kinds.items()}
    tile = side // 4
    tiles = images.unfold(2, tile, tile).unfold(3, tile, tile).flatten(2, 3)  # (N, 3, 16, tile, tile)
    mixed = tiles[:, :, torch.from_numpy(random.permutation(16))].unflatten(2, (4, 4))
    found["shuffled tiles"] = mixed.permute(0, 1, 2, 4, 3, 5).reshape(count, 3, side, side)
    if other is not None:
        paths = read_folder(other)["path"].sample(MOST, random_state=0)
        found["other photographs"] = torch.from_numpy(
            np.stack([to_pixels(decode(other / path, path), side) for path in paths])
        )
    found |= {"turned by 90 degrees": torch.rot90(images, 1, (2, 3)), "inverted": 255 - images}
    for name in CORRUPTIONS:
        for severity in severities:
            found[f"{name}, {severity}"] = corrupt(name, images, severity, list(range(count)))
    return found


class Scores:
    """The scores that are compared, of answers (N, K) and features (N, D); fitted on the training split."""

    def __init__(self, scorer: Scorer, guard: Guard, features: np.ndarray) -> None:
        head = scorer.net.get_classifier()  # type: ignore[operator]
        self.weight, self.bias = (p.detach().double().numpy() for p in (head.weight, head.bias))
        self.guard, self.mean = guard, features.mean(axis=0)
        self.precision = np.linalg.inv(ledoit_wolf(features - self.mean, assume_centered=True)[0])

    def of(self, told: np.ndarray, features: np.ndarray) -> dict[str, np.ndarray]:
        """Higher is stranger."""
        features = features.astype(float)
        nearest, apart = distances(features, self.guard.whitener, self.guard.centres), features - self.mean
        whole = np.einsum("nd,de,ne->n", apart, self.precision, apart)
        energy = -logsumexp(features @ self.weight.T + self.bias, axis=1)
        return {OURS: nearest, RELATIVE: nearest**2 - whole, ENERGY: energy, LARGEST: 1 - told.max(axis=1)}


def main() -> int:
    """Print the tables and every bar that does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one severity of each corruption in place of three")
    parser.add_argument("--run", type=Path, default=Path("runs/digits"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--other", type=Path, help="an image folder of another project")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scorer, guard = FeatureScorer(asked.run / "model", "cpu"), Guard.load(asked.run / "guard")
    table = read_table(asked.run / "split")
    parts = {name: table[table["split"] == name] for name in ("train", "calibration", "validation")}
    pixels = {name: load_pixels(asked.data, part, scorer.facts["image_size"]) for name, part in parts.items()}
    answers = {name: answer_all(scorer, images) for name, images in pixels.items()}
    scores = Scores(scorer, guard, answers["train"][1].astype(float))
    faults = ordinary(guard)
    strange = strange_images(pixels["validation"], asked.other, (3,) if asked.quick else (1, 3, 5))
    faults += compare(scores, scorer, answers, strange)
    faults += attacked(guard, asked.run / "model", pixels["validation"], parts["validation"]["label"])
    for fault in faults:
        print(f"FAIL {fault}")
    return 1 if faults else 0


def ordinary(guard: Guard) -> list[str]:
    """What the guard flags of the validation images; OOD, which blocks, within chance of its bound."""
    print("| score | threshold | bound | validation images flagged |\n|---|---|---|---|")
    for name, one in guard.thresholds.items():
        print(f"| {name} | {one.threshold:.4g} | {one.rate:.2%} | {one.flagged} of {one.checked} |")
    one = guard.thresholds[OOD]
    most = one.high + 3 * np.sqrt(one.high * (1 - one.high) / one.checked)
    over = one.flagged / one.checked > most
    return [f"{OOD} flags {one.flagged} of {one.checked} validation images, at most {most:.1%} wanted"] if over else []


def compare(
    scores: Scores,
    scorer: FeatureScorer,
    answers: dict[str, tuple[np.ndarray, np.ndarray]],
    strange: dict[str, torch.Tensor],
) -> list[str]:
    """The share of each kind above each score's threshold."""
    limits = {name: conformal_quantile(s, RATE) for name, s in scores.of(*answers["calibration"]).items()}
    rows = {"validation": answers["validation"]} | {name: answer_all(scorer, p) for name, p in strange.items()}
    shares = {
        kind: {name: float((s > limits[name]).mean()) for name, s in scores.of(*told).items()}
        for kind, told in rows.items()
    }
    found = pd.DataFrame(shares).T
    print(f"\n| flagged | {' | '.join(found.columns)} |\n|{'---|' * (len(found.columns) + 1)}")
    means = found.drop(index="validation").mean()
    for kind, row in [*found.iterrows(), ("mean of the strange", means)]:
        print(f"| {kind} | {' | '.join(f'{share:.0%}' for share in row)} |")
    faults = [
        f"{n} finds {means[n]:.1%}, ours {means[OURS]:.1%}"
        for n in (RELATIVE, ENERGY, LARGEST)
        if means[n] > means[OURS]
    ]
    far = found.loc[[kind for kind in FAR if kind in found.index], OURS]
    return faults + [f"{share:.0%} of {kind} are found, 95 % wanted" for kind, share in far.items() if share < 0.95]


def attacked(guard: Guard, model: Path, images: torch.Tensor, labels: pd.Series) -> list[str]:
    """The share of attacked images that each monitor flags, and how many the model then reads wrong."""
    scorer, network = FeatureScorer(model, "cpu"), Network(Scorer(model, "cpu").net, Scorer(model, "cpu").facts)
    truth = torch.from_numpy(pd.Index(scorer.classes).get_indexer(labels))
    print("\n| attack | read right | squeezing | high frequency | ood |\n|---|---|---|---|---|")
    faults = []
    for name, radius in [("none", 0), *((name, r) for name in ("fgsm", "pgd") for r in RADII)]:
        moved_images = images
        if radius:
            moved_images = (attack(name, network, images.float() / 255, truth, radius / 255, 10) * 255).round().byte()
        told, features = answer_all(scorer, moved_images)
        again = answer_all(scorer, squeezed(moved_images, guard.facts.bits, guard.facts.window))[0]
        found = {
            SQUEEZING: moved(told, again),
            HIGH_FREQUENCY: high_frequency(moved_images, guard.facts.radius),
            OOD: distances(features, guard.whitener, guard.centres),
        }
        share = {n: float((s > guard.thresholds[n].threshold).mean()) for n, s in found.items()}
        right = float((told.argmax(axis=1) == truth.numpy()).mean())
        print(f"| {name}, {radius}/255 | {right:.0%} | {' | '.join(f'{s:.0%}' for s in share.values())} |")
        if (name, radius) == ("pgd", 2) and share[SQUEEZING] < 0.5:
            faults.append(f"squeezing finds {share[SQUEEZING]:.0%} of the images of {name} at 2/255, half wanted")
    return faults


if __name__ == "__main__":
    sys.exit(main())
