"""Whether governance/plan.yaml tells a good model from two spoilt ones, on the bundled digits.

    python -m benchmarks.label_noise

Releases three times, each in a temporary copy of the checkout with a registry of its own: the data and the backbone as
they are, which must PASS; 40 % of all labels replaced by another one drawn at random (symmetric label noise, as in
Patrini et al. 2017, "Making Deep Neural Networks Robust to Label Noise"), desk A and desk B alike, which must FAIL; and
every bundled backbone with random weights, which must FAIL too. Expects data/ and backbones/ as `dvc pull` brings them.
Prints each verdict with its sentences and exits 0 only when all three are as they must be. About five minutes on two
cores.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import save_file

from benchmarks.kills import KEEL, environment
from tasks.backbones import RepositoryFile, load_catalogue
from tasks.digests import sha256_file
from tasks.verdict import read_verdict

SHARE, SEED = 0.4, 0
HERE = Path(__file__).parent.parent
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "state", "runs", "decisions", "uncommitted", "cache", "tmp", ".*_cache"
)
CATALOGUE = Path("governance/backbones.yaml")


def main() -> int:
    """Release the three copies and compare the verdicts with what they must be."""
    wanted: list[tuple[str, Callable[[Path], None], str]] = [
        ("as it is", lambda root: None, "PASS"),
        (f"{SHARE:.0%} of the labels replaced", replace_labels, "FAIL"),
        ("backbones with random weights", forget_pretraining, "FAIL"),
    ]
    right = 0
    for name, spoil, must in wanted:
        with tempfile.TemporaryDirectory(prefix="keel-noise-") as folder:
            root = Path(folder, "checkout")
            shutil.copytree(HERE, root, ignore=LEFT_BEHIND)
            subprocess.run(["git", "init", "--quiet", root], check=True)  # DVC works in a Git repository
            spoil(root)
            said = judged(root)
        right += said == must
        print(f"=> {name}: {said}, which is {'right' if said == must else f'wrong: it must be {must}'}\n", flush=True)
    return 0 if right == len(wanted) else 1


def replace_labels(root: Path) -> None:
    """Give a share of all images another label, each of the others alike likely."""
    random = np.random.default_rng(SEED)
    file = root / "data/metadata.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    labels = np.array(sorted(table["label"].unique()))
    chosen = random.choice(len(table), round(SHARE * len(table)), replace=False)
    step = random.integers(1, len(labels), len(chosen))
    table.loc[chosen, "label"] = labels[(np.searchsorted(labels, table["label"].iloc[chosen]) + step) % len(labels)]
    table.to_csv(file, index=False)


def forget_pretraining(root: Path) -> None:
    """Put random weights in the place of every bundled backbone, and their hashes into the catalogue."""
    torch.manual_seed(SEED)
    text = (root / CATALOGUE).read_text(encoding="utf-8")
    for entry in load_catalogue(root / CATALOGUE).entries.values():
        if not isinstance(entry.weights, RepositoryFile):
            continue
        file = root / entry.weights.file
        if text.count(recorded := sha256_file(file)) != 1:
            raise SystemExit(f"{CATALOGUE} does not name the sha256 of {file} once; run `dvc pull`")
        save_file(timm.create_model(entry.architecture, num_classes=0).state_dict(), file)
        text = text.replace(recorded, sha256_file(file))
    (root / CATALOGUE).write_text(text, encoding="utf-8")


def judged(root: Path) -> str:
    """Release; the verdict, with its sentences printed."""
    command = [*KEEL, "release", "--allow-dirty"]
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    file = root / "runs/digits/verdict/verdict.json"
    if not file.is_file():
        print(done.stderr)
        return f"no verdict (exit code {done.returncode})"
    verdict = read_verdict(file)
    for judgement in verdict.judgements:
        print(f"  {judgement.sentence}")
    print(verdict.sentence)
    return verdict.overall


if __name__ == "__main__":
    sys.exit(main())
