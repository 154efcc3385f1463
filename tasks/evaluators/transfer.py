"""Did the transfer help: the candidate against the same network trained from scratch, on the same images."""

from collections.abc import Iterator

import pandas as pd

from tasks.errors import EvidenceMissing
from tasks.estimates import estimate_gain
from tasks.findings import Finding
from tasks.params import EvaluateParams
from tasks.plan import Costs
from tasks.predictions import join_predictions, model_of
from tasks.slices import iter_slices

GAIN = "accuracy_gain_over_scratch"
METRICS = (GAIN,)


def evaluate(
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    params: EvaluateParams,
    baseline: pd.DataFrame | None = None,
    costs: Costs | None = None,
) -> Iterator[Finding]:
    """The paired difference in accuracy on test, on the mirror and on each of the mirror's slices; without a baseline,
    nothing."""
    if baseline is None:
        return
    ours, theirs = join_predictions(predictions, manifest), join_predictions(baseline, manifest)
    if model_of(ours) == model_of(theirs):
        raise EvidenceMissing(
            f"candidate and scratch baseline are the same model, {model_of(ours)[:12]}; "
            "score the scratch model to compare with it"
        )
    right = (ours["predicted"] == ours["label"]).astype(int) - (theirs["predicted"] == theirs["label"]).astype(int)
    for name, rows in iter_slices(ours):
        if not name.startswith("test/"):
            yield estimate_gain(GAIN, name, right[rows.index].to_numpy(), rows, params)
