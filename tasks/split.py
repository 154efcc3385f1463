"""Deal the images out to train, validation, calibration, test and the deployment mirror: the manifest.

Rows that share the project's group (a subject, a patient, a site) stay together; classes are kept in proportion; the
same data, project and seed give the same split. The mirror is set apart first and is never trained on.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.agreement import ANNOTATOR
from tasks.contracts import CONTEXT, raise_if_rejected, run_contract
from tasks.digests import sha256_text
from tasks.errors import BadInput
from tasks.mirror import mirrored
from tasks.params import SplitParams
from tasks.project import Mirror, Project, load_project
from tasks.slices import PROPERTIES, SLICE
from tasks.stage import project_keys, stage

SPLITS = ("train", "validation", "calibration", "test")
MIRROR = "mirror"
OPTIONAL = ("captured_at", "source", "licence", "consent")
logger = logging.getLogger("tasks.split")


@stage
@project_keys("group", "unit", "split", "slices", "mirror")
def split(images: Path, project: Path, params: SplitParams, out: Path, contracts: Path = CONTEXT) -> None:
    """Write manifest.parquet; raise DataRejected when the split contract fails."""
    about = load_project(project)
    manifest = make_manifest(pd.read_parquet(images / "images.parquet"), about, params)
    counts = manifest["split"].value_counts().to_dict()
    logger.info("split into %s", ", ".join(f"{name} {count}" for name, count in counts.items()))
    given = {"splits": [*SPLITS, MIRROR], "min_groups_per_split": params.min_groups if about.group else 1}
    raise_if_rejected(run_contract("split", manifest, given, contracts))
    manifest.to_parquet(out / "manifest.parquet", index=False)


def make_manifest(images: pd.DataFrame, project: Project, params: SplitParams) -> pd.DataFrame:
    """The manifest of all images, in the order of their paths."""
    images = images.sort_values("path").reset_index(drop=True)
    for key, column in _columns_named(project):
        if column not in images:
            raise BadInput(f"project {project.name}: {key} names column '{column}', which metadata.csv does not have")
    manifest = pd.DataFrame({"image_id": images["path"], "path": images["path"], "label": images["label"]})
    manifest["group"] = images[project.group] if project.group else images["path"]
    manifest["unit"] = images[project.unit] if project.unit else images["path"]
    manifest["split"] = _assign(images, manifest, project, params)
    for column in ("sha256", *PROPERTIES):
        manifest[column] = images[column]
    for column in OPTIONAL:
        manifest[column] = images[column].fillna("").astype(str) if column in images else ""
    for column in (c for c in images if c.startswith(ANNOTATOR)):
        manifest[column] = images[column].fillna("").astype(str)
    for column in project.slices:
        manifest[SLICE + column] = images[column].fillna("").astype(str)
    return manifest


def _columns_named(project: Project) -> list[tuple[str, str]]:
    mirror = project.mirror or Mirror()
    named = [("group", project.group), ("unit", project.unit), ("split", project.split), ("mirror", mirror.column)]
    if mirror.latest:
        named.append(("mirror.latest", "captured_at"))
    return [(key, column) for key, column in [*named, *(("slices", s) for s in project.slices)] if column]


def _assign(images: pd.DataFrame, manifest: pd.DataFrame, project: Project, params: SplitParams) -> pd.Series:
    if project.split:
        return images[project.split].astype(str)
    apart = mirrored(images, manifest["group"], project)
    shares = np.array([params.train, params.validation, params.calibration, params.test])
    if abs(shares.sum() - 1) > 1e-9:
        raise BadInput(f"params.yaml, section split: the shares add up to {shares.sum():g}; they must add up to 1")
    dealt = deal(manifest.loc[~apart, ["group", "label"]], shares, params.seed)
    return manifest["group"].map(dealt).mask(apart, MIRROR)


def deal(rows: pd.DataFrame, shares: np.ndarray, seed: int) -> dict[str, str]:
    """Group -> split, for rows with columns group and label.

    Greedy: the largest groups first (equal ones in an order drawn from the seed), each to the split where it brings
    the counts of its classes nearest to their shares, by the chi-squared distance.
    """
    counts = pd.crosstab(rows["group"], rows["label"])
    order = sorted(counts.index, key=lambda g: (-int(counts.loc[g].sum()), sha256_text(f"{seed}:{g}")))
    table = counts.loc[order].to_numpy(dtype=float)
    wanted = np.maximum(np.outer(shares, table.sum(axis=0)), 1e-9)  # (splits, classes)
    have = np.zeros_like(wanted)
    dealt = {}
    for name, row in zip(order, table, strict=True):
        growth = ((have + row - wanted) ** 2 - (have - wanted) ** 2) / wanted
        chosen = int(growth.sum(axis=1).argmin())
        have[chosen] += row
        dealt[name] = SPLITS[chosen]
    return dealt
