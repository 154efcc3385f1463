"""Ask a model about the must-pass cases (tasks/cases.py): a row a case, with its answer."""

import logging
from pathlib import Path

import pandas as pd

from tasks.cases import ANSWERS, read_cases, refuse_trained_on
from tasks.predict import score
from tasks.stage import stage

logger = logging.getLogger("tasks.predict_cases")


@stage
def predict_cases(cases: Path | None, manifest: Path, model: Path, out: Path) -> None:
    """Write cases.parquet, without rows where the project has no cases; DataRejected when a model could have learnt
    one by heart."""
    table = read_cases(cases)
    refuse_trained_on(table, pd.read_parquet(manifest / "manifest.parquet"), f"the must-pass cases in {cases}")
    answered = answer_cases(cases, table, model)
    answered.to_parquet(out / ANSWERS, index=False)
    logger.info("%d must-pass cases", len(answered))


def answer_cases(cases: Path | None, table: pd.DataFrame, model: Path) -> pd.DataFrame:
    """The rows of `table` with the columns predicted, model and prob_<label>."""
    if cases is None or table.empty:
        return table.assign(predicted="", model="")
    return table.merge(score(cases, table, model).drop(columns="condition"), on="image_id", validate="one_to_one")
