"""Write the bundled sample: handwritten digits as an image folder, with a second desk and production windows.

The digits are scikit-learn's `load_digits`, the test part of "Optical Recognition of Handwritten Digits" (Alpaydin &
Kaynak 1998, UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0): 1,797 scans of 8 x 8 pixels in writer
order. The writers' borders are not published, but every writer copied the same form, whose first 30 boxes read 0 to 9
three times: that run marks where a form begins. The 14 contiguous blocks between those places are the `subject`s.

Desk A's scans are as published (enlarged to 64 x 64). Desk B is the deployment mirror: scans of other writers, each
under five simulated scanner conditions. Production windows are re-scans of yet other writers, a few images a night.
Same arguments, same bytes.
"""

import csv
import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.conditions import CONDITIONS, Scan, apply_condition
from tasks.errors import BadInput

FORM_STARTS = (0, 130, 256, 386, 516, 646, 776, 905, 1029, 1157, 1287, 1415, 1545, 1667)
DESK_A, DESK_B, PRODUCTION = range(9), range(9, 11), range(11, 14)  # blocks of each part
SIZE = 64
AS_SCANNED = "as scanned"
FIRST_NIGHT = dt.date(2026, 6, 1)
# 15 nights as usual; then desk B's scanner is used by mistake; the last nights show other faults.
NIGHTS = (
    [AS_SCANNED] * 15
    + ["white on dark"] * 3
    + [AS_SCANNED] * 2
    + ["faded", "faded", "noise", "noise", "blur", "skew"]
    + [AS_SCANNED]
)
IMAGES_A_NIGHT = 40
SEED = 20260601
COLUMNS = (
    *("file_name", "label", "subject", "captured_at", "source", "consent", "licence"),
    *("condition", "stroke", "slant", "scan"),
)
ATTRIBUTION = """\
# The bundled sample

Handwritten digits from "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0, as shipped with scikit-learn (`load_digits`).

Changes: enlarged from 8 x 8 to 64 x 64 pixels and drawn as dark ink on light paper. `subject` is a contiguous block of
the published order, cut where the copied form starts anew: the set names 13 writers and not their borders. `stroke`
and `slant` are measured on the scan. `captured_at` and `source` are made up for the sample: the set publishes neither.
`condition` names the simulated scanner fault that was applied; "as scanned" means none. Images under `production/` are
re-scans (turned, shifted and lit a little differently); one scan can appear on several nights.
"""


@task(cache_policy=NO_CACHE)
def make_sample(out: Path) -> Path:
    """Write the sample into the folder `out`, which must not exist yet."""
    if out.exists():
        raise BadInput(f"{out} exists; remove it first, `make_sample` writes a whole folder")
    fresh = out.with_name(out.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    inks, labels = load_inks()
    write_labelled(fresh, inks, labels)
    write_windows(fresh / "production", inks, labels)
    (fresh / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8")
    fresh.rename(out)
    return out


def load_inks() -> tuple[np.ndarray, np.ndarray]:
    """The published scans, (1797, 8, 8) with ink from 0 to 1, and their labels, (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32) / 16, digits.target


def block_of(scan: int) -> int:
    """The block, 0 to 13, in which a scan of that index lies."""
    return int(np.searchsorted(FORM_STARTS, scan, side="right")) - 1


def write_labelled(root: Path, inks: np.ndarray, labels: np.ndarray) -> None:
    """Desk A's scans as they are, and desk B's under each condition, with one metadata.csv."""
    rows: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True)
    for scan in range(len(inks)):
        if block_of(scan) in DESK_A:
            name = f"images/{scan:04d}.png"
            save(enlarge(inks[scan]), root / name)
            rows.append(row(name, scan, inks[scan], labels[scan], "desk A", AS_SCANNED, captured(block_of(scan))))
        elif block_of(scan) in DESK_B:
            for number, condition in enumerate(CONDITIONS):
                name = f"images/{scan:04d}-{condition.replace(' ', '-')}.png"
                random = np.random.default_rng((SEED, scan, number))
                save(apply_condition(condition, enlarge(inks[scan]), 3, random), root / name)
                rows.append(row(name, scan, inks[scan], labels[scan], "desk B", condition, captured(block_of(scan))))
    write_csv(root / "metadata.csv", rows)


def write_windows(root: Path, inks: np.ndarray, labels: np.ndarray) -> None:
    """One folder a night, each with re-scans of the production writers; some of the last labels are still missing."""
    scans = [s for s in range(len(inks)) if block_of(s) in PRODUCTION]
    for night, condition in enumerate(NIGHTS):
        random = np.random.default_rng((SEED, 9999, night))
        date = FIRST_NIGHT + dt.timedelta(days=night)
        folder = root / date.isoformat()
        (folder / "images").mkdir(parents=True)
        rows = []
        for place, scan in enumerate(sorted(random.choice(scans, IMAGES_A_NIGHT, replace=False))):
            image = rescan(enlarge(inks[scan]), random)
            if condition != AS_SCANNED:
                image = apply_condition(condition, image, 3, random)
            name = f"images/{date:%m%d}-{place:02d}.png"
            save(image, folder / name)
            at = dt.datetime.combine(date, dt.time(8)) + dt.timedelta(minutes=10 * place)
            rows.append(row(name, scan, inks[scan], labels[scan], "desk A", condition, at))
        if night == len(NIGHTS) - 1:
            rows = [{**r, "label": ""} if place % 2 else r for place, r in enumerate(rows)]  # these come late
        write_csv(folder / "metadata.csv", rows)


def row(
    name: str, scan: int, ink: np.ndarray, label: int, source: str, condition: str, at: dt.datetime
) -> dict[str, Any]:
    """One line of metadata.csv."""
    values = [name, label, f"block {block_of(scan):02d}", at.isoformat(), source, "published", "CC-BY-4.0"]
    return dict(zip(COLUMNS, [*values, condition, stroke_of(ink), slant_of(ink), f"scan {scan:04d}"], strict=True))


def captured(block: int) -> dt.datetime:
    """A made-up hour of capture: one form a day."""
    return dt.datetime(2026, 5, 1, 9) + dt.timedelta(days=block)


def enlarge(ink: np.ndarray) -> Scan:
    """An 8 x 8 ink map as a 64 x 64 scan with a margin of 4 pixels: dark ink (30) on light paper (240)."""
    large = Image.fromarray(ink).resize((SIZE - 8, SIZE - 8), Image.Resampling.BICUBIC)
    return 240 - 210 * np.pad(np.clip(np.asarray(large, dtype=np.float32), 0, 1), 4)


def rescan(scan: Scan, random: np.random.Generator) -> Scan:
    """The same paper laid in again: up to 3 degrees, 2 pixels and 8 grey levels off, with a trace of sensor noise."""
    image = Image.fromarray(scan.round().astype(np.uint8))
    across, down = random.integers(-2, 3, 2)
    turned = image.rotate(
        float(random.uniform(-3, 3)), Image.Resampling.BICUBIC, translate=(int(across), int(down)), fillcolor=240
    )
    lit = np.asarray(turned, dtype=np.float32) + random.uniform(-8, 8) + random.normal(0, 3, scan.shape)
    return np.clip(lit, 0, 255).astype(np.float32)


def stroke_of(ink: np.ndarray) -> str:
    """Thin, medium or bold, by the share of the field that ink covers (the cuts are near the set's terciles)."""
    return "thin" if ink.mean() < 0.29 else "medium" if ink.mean() < 0.325 else "bold"


def slant_of(ink: np.ndarray) -> str:
    """Left, upright or right, by the shear that the second moments of the ink show; cuts near the terciles."""
    rows, columns = np.mgrid[0:8, 0:8]
    total = ink.sum()
    y, x = rows - (rows * ink).sum() / total, columns - (columns * ink).sum() / total
    shear = -float((x * y * ink).sum() / (y * y * ink).sum())
    return "left" if shear < -0.09 else "upright" if shear < 0.01 else "right"


def save(scan: Scan, path: Path) -> None:
    """Write a scan as an 8-bit grey PNG."""
    Image.fromarray(np.clip(scan, 0, 255).round().astype(np.uint8)).save(path, optimize=False, compress_level=9)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows under COLUMNS, with the same line ends everywhere."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
