"""Ask candidate and baseline about the external sets that the plan names.

A set must be the one that was pinned, meet the data contract of a production window (classes may be missing), have no
label that the model does not know, and hold no image that the model is made from.
"""

import json
import logging
from pathlib import Path

import pandas as pd

from tasks.cases import refuse_trained_on
from tasks.contracts import CONTEXT, image_frame, image_parameters, raise_if_rejected, run_contract
from tasks.digests import digest_of
from tasks.errors import BadInput, DigestMismatch
from tasks.external import ANSWERS, COLUMNS, no_answers
from tasks.folders import measure_folder, read_folder
from tasks.params import CheckDataParams
from tasks.plan import ExternalSet, load_plan
from tasks.predict import score
from tasks.rules import WINDOW
from tasks.scorer import FACTS
from tasks.stage import stage

logger = logging.getLogger("tasks.predict_external")


@stage
def predict_external(
    plan: Path,
    manifest: Path,
    model: Path,
    scratch: Path,
    params: CheckDataParams,
    out: Path,
    contracts: Path = CONTEXT,
) -> None:
    """Write external.parquet, without rows where the plan names no set."""
    known = pd.read_parquet(manifest / "manifest.parquet")
    classes = json.loads((model / FACTS).read_text(encoding="utf-8"))["classes"]
    tables = [no_answers()]
    for asked in load_plan(plan).external_sets:
        folder = Path(asked.data)
        images = read_set(asked, folder)
        refuse_trained_on(images, known, f"the external set {asked.name}")
        frame = image_frame(images, asked.group, params)
        raise_if_rejected(run_contract(WINDOW, frame, image_parameters(params, classes), contracts))
        answered = answer(folder, images, model, scratch)
        tables.append(answered.assign(set=asked.name))
        logger.info("external set %s: %d images", asked.name, len(answered))
    pd.concat([t for t in tables if len(t)] or tables).to_parquet(out / ANSWERS, index=False)


def read_set(asked: ExternalSet, folder: Path) -> pd.DataFrame:
    """The measured images of the set (columns of tasks/folders.py, and image_id, group, unit)."""
    if not folder.is_dir():
        raise BadInput(f"external set {asked.name}: there is no folder {folder}, which the plan names")
    if (digest := digest_of(folder)) != asked.sha256:
        raise DigestMismatch(
            f"external set {asked.name}: {folder} has the sha256 {digest}, the plan says {asked.sha256}; bring back "
            "the folder that was pinned, or pin this one in the plan, which makes it another plan"
        )
    listed = read_folder(folder)
    if asked.group and asked.group not in listed:
        raise BadInput(f"external set {asked.name}: group names the column '{asked.group}', which {folder} has not")
    images = measure_folder(folder, listed)
    whole = images[asked.group] if asked.group else images["path"]
    return images.assign(image_id=images["path"], group=whole, unit=whole)


def answer(folder: Path, images: pd.DataFrame, model: Path, scratch: Path) -> pd.DataFrame:
    """The columns of external.parquet but for the set's name."""
    ours = score(folder, images, model).drop(columns="condition")
    theirs = score(folder, images, scratch)[["image_id", "predicted"]]
    table = images[[c for c in COLUMNS if c in images]].merge(ours, on="image_id", validate="one_to_one")
    return table.merge(theirs.rename(columns={"predicted": "scratch_predicted"}), on="image_id", validate="one_to_one")
