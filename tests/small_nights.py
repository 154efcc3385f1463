"""Production windows of the small checkout, and rules of the nights that few images satisfy."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from tests.small_checkout import HERE

PRODUCTION = Path("pets/production")
LABELS = ("cat", "dog")


def write_window(
    date: str, images: int = 12, seed: int = 0, wrong: bool = False, labelled: bool = True, root: Path = PRODUCTION
) -> Path:
    """One night's images, drawn as those of the release are; `wrong` turns their labels."""
    random, folder = np.random.default_rng(seed), root / date
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(images):
        pixels = random.integers(90, 160, (32, 32, 3), dtype=np.uint8)
        pixels[:, :16] = 30 if place % 2 else 220
        Image.fromarray(pixels).save(folder / f"{place:03d}.png")
        label = LABELS[(place + wrong) % 2] if labelled else ""
        rows.append({"file_name": f"{place:03d}.png", "label": label, "device": "new", "subject": f"{date} {place}"})
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    return folder


def write_late_labels(folder: Path, images: int, at: str, wrong: bool = False) -> None:
    """labels.csv for the first images of a window, all told at one time."""
    lines = [f"{place:03d}.png,{LABELS[(place + wrong) % 2]},{at}" for place in range(images)]
    (folder / "labels.csv").write_text("\n".join(["file_name,label,labelled_at", *lines]) + "\n")


def write_watch(file: Path, **changes: object) -> None:
    """governance/watch.yaml with few reference nights, few permutations and one monitor."""
    document = yaml.safe_load((HERE / "governance/watch.yaml").read_text(encoding="utf-8"))
    document["reference"] |= {"nights": 2}
    document["drift"] |= {
        **{"false_alarm_every": 20, "permutations": 199, "least_images": 4, "audit_splits": 50},
        **{"audit_permutations": 19, "audit_tries": 10, "audit_largest": 20, "neighbours": 3, "shown": 2},
    }
    monitor = {
        "name": "error",
        "risk": "error",
        "slice": "all",
        "margin": 0.05,
        "minimum": 10,
        "reason": "for the test",
    }
    document["harm"] |= {"monitors": [monitor], "average_run_length": 100, "early_warning": 20}
    document |= {"least_images": 6, "late_labels_days": 5, "catch_up": 3, "labels_to_ask": 2, **changes}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
