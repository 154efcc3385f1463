"""Measure every labelled image and hold the data against its contract, before anything is learnt from it.

Reads an image folder (see tasks/folders.py; `production/` is left out) and writes images.parquet (a row an image: path,
label, the columns of metadata.csv, the measures) and contract.json (each rule of the contract, and how it fared).
"""

import json
import logging
from pathlib import Path

import pandas as pd

from tasks.contracts import CONTEXT, image_frame, image_parameters, raise_if_rejected, run_contract
from tasks.errors import BadInput
from tasks.folders import measure_folder, read_folder
from tasks.params import CheckDataParams
from tasks.project import Project, load_project
from tasks.rules import LABELLED
from tasks.stage import project_keys, stage

logger = logging.getLogger("tasks.check_data")


@stage
@project_keys("classes", "group", "unit", "slices")
def check_data(data: Path, project: Path, params: CheckDataParams, out: Path, contracts: Path = CONTEXT) -> None:
    """Write images.parquet and contract.json; raise DataRejected when the data contract is broken."""
    about = load_project(project)
    listed = read_folder(data)
    _require_columns(about, data, listed)
    logger.info("%d images listed in %s", len(listed), data)
    images = measure_folder(data, listed)
    classes = about.classes or sorted(images["label"].unique())
    frame = image_frame(images, about.group, params)
    result = run_contract(LABELLED, frame, image_parameters(params, classes), contracts)
    images.to_parquet(out / "images.parquet", index=False)
    (out / "contract.json").write_text(
        json.dumps(result.record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    raise_if_rejected(result)


def _require_columns(project: Project, data: Path, images: pd.DataFrame) -> None:
    named = [("group", project.group), ("unit", project.unit), *(("slices", column) for column in project.slices)]
    for key, column in named:
        if column and column not in images:
            raise BadInput(
                f"project {project.name}: {key} names the column '{column}', which {data} does not have; "
                f"its columns are {', '.join(images.columns)}"
            )
