"""How much accuracy the shortlist's ranking costs: its regret over random draws of subjects and labels.

    python -m benchmarks.shortlist DATA [--quick]

DATA is a folder with `metadata.csv` (file_name, label, subject) and photographs, as for benchmarks/pretraining.py. Six
candidates, the bundled backbones and the same architectures at random weights as decoys, are scored frozen on a few
labelled images a class, split by subject into train and validation; every one is then fine-tuned in full, with two
learning rates and the better on validation, and read on the images of all other subjects: the truth. The regret of a
rule is the best candidate's accuracy there minus that of the rule's choice, in points. Rules: each frozen score alone,
their mean rank (what makes finalists), the whole shortlist (the best few by mean rank, a short fine-tune, the lowest
validation loss), and a choice at random, which is what ignoring all of this would cost.

Exits 0 only when the bars hold: the mean regret of the whole shortlist and of the mean rank stay below what would
change a release (the plans here ask for differences of 5 points), and the shortlist never takes random weights.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from benchmarks.pretraining import BUNDLED, read_pixels
from tasks.backbones import input_facts, load_catalogue
from tasks.finetune import network_options, seeded, train
from tasks.params import FinetuneParams, Phase, ShortlistParams, load_section
from tasks.scorer import outputs_of
from tasks.selection import long_enough
from tasks.transferability import linear_probe, logme, neighbours, places
from tasks.weights import create_backbone

LABELS, TESTED, SIZE = 10, 600, 64  # labels a class for train and validation together; images of the truth; pixels
VALIDATION = 0.4  # share of the labelled subjects
RATES = (0.004, 0.012)
PHASES = [Phase(open="head", epochs=6, rate=1.0), Phase(open="all", epochs=18, rate=0.5)]
DRAWS, QUICK_DRAWS = 10, 3
RULES = ("linear probe", "neighbours", "LogME", "mean rank", "shortlist", "at random")
BARS = {"mean rank": 5.0, "shortlist": 2.5}  # mean regret in points, at most
QUICK_SLACK = 2.0  # fewer draws, wider bars


@dataclass(frozen=True)
class Choice:
    """One candidate: a name, what the catalogue says, and a file of weights."""

    name: str
    passport: dict[str, Any]
    weights: Path


def main() -> int:
    """Measure the regrets over the draws, print the tables, and judge the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DRAWS} draws instead of {DRAWS}, wider bars")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-shortlist"), help="where the decoys are kept")
    asked = parser.parse_args()
    table = pd.read_csv(asked.data / "metadata.csv", dtype=str)
    pixels = read_pixels(asked.data, table, SIZE)
    choices = [*bundled(), *decoys(asked.work)]
    draws = range(QUICK_DRAWS if asked.quick else DRAWS)
    regrets = pd.DataFrame(index=draws, columns=RULES, dtype=float)
    fooled = 0
    for draw in draws:
        truth, chosen = measure(choices, table, pixels, draw)
        best = max(truth.values())
        regrets.loc[draw] = [100 * (best - truth[chosen[rule]]) for rule in RULES[:-1]] + [
            100 * (best - np.mean(list(truth.values())))
        ]
        fooled += chosen["shortlist"].startswith("random")
        show_draw(draw, truth, chosen)
    return judge(regrets, fooled, QUICK_SLACK if asked.quick else 0.0)


def bundled() -> list[Choice]:
    """The bundled backbones, as the catalogue describes them."""
    entries = load_catalogue(Path("governance/backbones.yaml")).entries.values()
    ours = [entry for entry in entries if entry.architecture in BUNDLED]
    return [
        Choice(
            e.name,
            {**e.model_dump(mode="json"), **input_facts(e)},
            Path("backbones", e.architecture, "backbone.safetensors"),
        )
        for e in ours
    ]


def decoys(work: Path) -> list[Choice]:
    """The same architectures at random weights."""
    made = []
    work.mkdir(parents=True, exist_ok=True)
    for number, real in enumerate(bundled()):
        torch.manual_seed(number)
        net = create_backbone(real.passport["architecture"], None, 0, **network_options(real.passport, SIZE))
        file = work / f"{real.passport['architecture']}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, file)
        made.append(Choice(f"random {real.passport['architecture']}", real.passport, file))
    return made


def measure(
    choices: list[Choice], table: pd.DataFrame, pixels: torch.Tensor, draw: int
) -> tuple[dict[str, float], dict[str, str]]:
    """(name -> accuracy after the full fine-tune on subjects never seen, rule -> the name that it takes)."""
    rows = deal(table, draw)
    labels, classes = table["label"].to_numpy(), sorted(table["label"].unique())
    numbers = torch.tensor([classes.index(label) for label in labels])
    tensors = {split: (pixels[rows[split]], numbers[rows[split]]) for split in ("train", "validation")}
    scores = np.array([score(choice, pixels, labels, table["subject"].to_numpy(), rows) for choice in choices])
    place = places(scores)
    training = load_section(FinetuneParams, Path("params.yaml"), {"seed": draw, "image_size": SIZE})
    brief = load_section(ShortlistParams, Path("params.yaml"))
    short, truth = {}, {}
    for choice, rank in zip(choices, place, strict=True):
        if rank < brief.finalists:
            phases = long_enough(brief.phases, len(rows["train"]), training.batch_size, brief.least_steps)
            runs = [
                train(choice.passport, choice.weights, rate, phases, training, tensors, len(classes))
                for rate in brief.rates
            ]
            short[choice.name] = min(run.loss for run in runs)
        full = [train(choice.passport, choice.weights, rate, PHASES, training, tensors, len(classes)) for rate in RATES]
        net = min(full, key=lambda run: run.loss).net
        said = outputs_of(net, pixels[rows["test"]], choice.passport["mean"], choice.passport["std"]).argmax(1)
        truth[choice.name] = float((said == numbers[rows["test"]]).float().mean())
    alone = {rule: choices[int(np.argmax(scores[:, i]))].name for i, rule in enumerate(RULES[:3])}
    return truth, alone | {
        "mean rank": choices[int(np.argmin(place))].name,
        "shortlist": min(short, key=lambda name: short[name]),
    }


def deal(table: pd.DataFrame, draw: int) -> dict[str, np.ndarray]:
    """Row numbers of train, validation and test, no subject in two of them, LABELS a class in the first two."""
    random = np.random.default_rng(draw)
    subjects = random.permutation(np.sort(table["subject"].unique()))
    half = len(subjects) // 2
    parts = {
        "train": subjects[: round(half * (1 - VALIDATION))],
        "validation": subjects[round(half * (1 - VALIDATION)) : half],
        "test": subjects[half:],
    }
    wanted = {"train": round(LABELS * (1 - VALIDATION)), "validation": round(LABELS * VALIDATION)}
    rows = {}
    for split, names in parts.items():
        shuffled = random.permutation(np.flatnonzero(table["subject"].isin(names)))
        if split == "test":
            rows[split] = shuffled[:TESTED]
        else:
            rows[split] = (
                pd.Series(shuffled).groupby(table["label"].to_numpy()[shuffled]).head(wanted[split]).to_numpy()
            )
    return rows


def score(
    choice: Choice, pixels: torch.Tensor, labels: np.ndarray, groups: np.ndarray, rows: dict[str, np.ndarray]
) -> list[float]:
    """The three frozen scores, from train to validation."""
    with seeded(0):
        options = network_options(choice.passport, SIZE)
        net = create_backbone(choice.passport["architecture"], choice.weights, 0, **options).eval()
        facts = choice.passport["mean"], choice.passport["std"]
        known, asked = (outputs_of(net, pixels[rows[split]], *facts).numpy() for split in ("train", "validation"))
    ours, theirs = labels[rows["train"]], labels[rows["validation"]]
    (probed,) = linear_probe(known, ours, groups[rows["train"]], asked)
    (voted,) = neighbours(known, ours, asked)
    return [float(np.mean(probed == theirs)), float(np.mean(voted == theirs)), logme(known, ours)]


def show_draw(draw: int, truth: dict[str, float], chosen: dict[str, str]) -> None:
    """What each candidate is worth in this draw, and who takes it."""
    print(f"draw {draw}: accuracy % after a full fine-tune, on subjects never seen")
    for name, accuracy in sorted(truth.items(), key=lambda item: -item[1]):
        takers = [rule for rule, taken in chosen.items() if taken == name]
        print(f"  {name:<24}{100 * accuracy:6.1f}   {'<- ' + ', '.join(takers) if takers else ''}", flush=True)


def judge(regrets: pd.DataFrame, fooled: int, slack: float) -> int:
    """Print the regrets and the bars; 0 when every bar holds, NaN holds none."""
    print(f"regret in points over {len(regrets)} draws of subjects and labels")
    for rule in RULES:
        each = "  ".join(f"{value:5.1f}" for value in regrets[rule])
        print(f"  {rule:<14}{regrets[rule].mean():6.1f}, worst {regrets[rule].max():5.1f}    {each}")
    held = fooled == 0
    print(f"  {'PASS' if held else 'FAIL'}  the shortlist took random weights in {fooled} draws, bar 0")
    for rule, bar in BARS.items():
        found = regrets[rule].mean(skipna=False)
        held &= bool(found <= bar + slack)
        print(f"  {'PASS' if found <= bar + slack else 'FAIL'}  {rule}: mean regret {found:.1f}, bar {bar + slack:.1f}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
