"""Did the transfer help: the candidate against the same network trained from scratch, on the same images."""

from collections.abc import Iterator

from tasks.errors import EvidenceMissing
from tasks.estimates import estimate_gain
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.predictions import model_of
from tasks.slices import iter_slices

GAIN = "accuracy_gain_over_scratch"
METRICS = (GAIN,)


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """The paired difference in accuracy on test, on the mirror and on each of the mirror's slices; without a baseline,
    nothing."""
    ours, theirs = evidence.judged, evidence.baseline_judged
    if theirs is None:
        return
    if model_of(ours) == model_of(theirs):
        raise EvidenceMissing(
            f"candidate and scratch baseline are the same model, {model_of(ours)[:12]}; "
            "score the scratch model to compare with it"
        )
    right = (ours["predicted"] == ours["label"]).astype(int) - (theirs["predicted"] == theirs["label"]).astype(int)
    for name, rows in iter_slices(ours):
        if not name.startswith("test/"):
            yield estimate_gain(GAIN, name, right[rows.index].to_numpy(), rows, evidence.params)
