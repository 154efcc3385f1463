"""A small checkout for tests of whole releases: drawn images of two classes, a tiny backbone, two criteria."""

import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tasks.digests import sha256_file
from tests.plan_documents import plan_document

HERE = Path(__file__).parent.parent
QUICK = {
    "finetune": {
        "image_size": 32,
        "augmentation": {},  # which then needs no audit of it
        "phases": [{"open": "head", "epochs": 1, "rate": 1.0}, {"open": "all", "epochs": 3, "rate": 1.0}],
        "rates": [0.01],
        "scratch_rates": [0.01],
    },
    "shortlist": {
        "phases": [{"open": "head", "epochs": 1, "rate": 1.0}, {"open": "all", "epochs": 1, "rate": 1.0}],
        "rates": [0.01],
        "least_steps": 0,
        "resamples": 100,
    },
    "stress": {"images": 20, "severities": [3], "conditions": ["skew"], "steps": 2},
    "attribute": {"images": 10, "steps": 4, "orders": 1},
    "evaluate": {"resamples": 200},
}


def write_checkout(root: Path) -> None:
    """One small project, `pets`: two classes that differ in brightness, and a plan that a good model passes."""
    contracts, local = "great_expectations", shutil.ignore_patterns("uncommitted")
    shutil.copytree(HERE / contracts, root / contracts, ignore=local)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(HERE / name, root / name)
    (root / "governance/projects").mkdir(parents=True)
    for name in ("plan.scaffold.yaml", "watch.scaffold.yaml", "watch.yaml", "serving.yaml", "roles.yaml"):
        shutil.copy(HERE / "governance" / name, root / "governance")
    (root / "governance/risks.yaml").write_text("risks: []\n")
    write_backbone(root)
    write_images(root / "pets")
    write_project(root)
    write_plan(root, at_least=0.6)


def write_backbone(root: Path) -> None:
    """Random weights of the smallest architecture, and a catalogue that lists them alone."""
    torch.manual_seed(0)
    weights = root / "backbones/test_resnet/backbone.safetensors"
    weights.parent.mkdir(parents=True)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    catalogue = yaml.safe_load((HERE / "governance/backbones.yaml").read_text())
    entry = next(e for e in catalogue["backbones"] if e["name"] == "formula-test-resnet")
    catalogue["backbones"] = [{**entry, "sha256": sha256_file(weights)}]
    (root / "governance/backbones.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))


def write_images(folder: Path, noise: int = 0) -> None:
    """240 images of 60 subjects, the first 60 images from the old device."""
    random = np.random.default_rng(noise)
    rows = []
    folder.mkdir(exist_ok=True)
    for place in range(240):
        pixels = random.integers(90, 160, (32, 32, 3), dtype=np.uint8)
        pixels[:, :16] = 30 if place % 2 else 220
        Image.fromarray(pixels).save(folder / f"{place:03d}.png")
        device = "old" if place < 60 else "new"
        rows.append({"file_name": f"{place:03d}.png", "label": ["cat", "dog"][place % 2], "device": device})
    pd.DataFrame(rows).assign(subject=[f"s{p // 4:02d}" for p in range(240)]).to_csv(
        folder / "metadata.csv", index=False
    )


def write_project(root: Path, **changes: object) -> None:
    """The project file, with a training of seconds."""
    document: dict[str, object] = {
        "name": "pets",
        "data": "pets",
        "group": "subject",
        "slices": ["device"],
        "params": QUICK,
    }
    document |= {"mirror": {"column": "device", "values": ["old"]}, **changes}
    (root / "governance/projects/pets.yaml").write_text(yaml.safe_dump(document))


def write_plan(
    root: Path, at_least: float, minimum_n: int = 20, alpha: float = 0.5, flips: float | None = None
) -> None:
    """A plan of accuracy on test and mirror; `alpha` is what all openings of one test set may spend, `flips` the share
    of negative flips against the champion that is allowed."""
    bundled = yaml.safe_load((HERE / "governance/plan.yaml").read_text())
    criterion = {"metric": "accuracy", "at_least": at_least, "minimum_n": minimum_n, "severity": "block"}
    asked = [{"name": s, "slice": s, "reason": "for the test", **criterion} for s in ("test", "mirror")]
    plan = plan_document(*asked, reuse={**bundled["reuse"], "alpha": alpha}, costs=bundled["costs"])
    if flips is not None:
        few = {"name": "flips", "metric": "negative_flip_rate", "slice": "test", "at_most": flips, "reason": "r"}
        plan["champion"] = [few | {"minimum_n": minimum_n, "severity": "block"}]
    (root / "governance/plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))


class working_in:
    """Work inside a checkout, with the local registry of that checkout, and come back."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> None:
        self.before = Path.cwd(), dict(os.environ), sys.path[:]
        os.chdir(self.root)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        logging.getLogger("mlflow").setLevel(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        folder, environment, sys.path[:] = self.before
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
