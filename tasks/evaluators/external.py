"""Does the model hold on images from elsewhere: each external set of the plan, overall and class by class."""

from collections.abc import Iterator

from tasks import metrics
from tasks.estimates import Measure, estimate_gain, estimate_measures, estimate_rate
from tasks.evaluators.accuracy import even_number
from tasks.evidence import Evidence
from tasks.external import iter_sets
from tasks.findings import Finding

METRICS = ("accuracy", "macro_f1", "ece", "recall", "accuracy_gain_over_scratch")


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """On `external/<name>` all metrics but recall, which is of each of its classes: `external/<name>/label=3`."""
    if evidence.external is None:
        return
    params = evidence.params
    measures = (
        Measure("macro_f1", metrics.macro_f1, even_number, of_labels=True),
        Measure("ece", metrics.ece(params.calibration_bins), inflated=True),
    )
    for name, rows in iter_sets(evidence.external):
        hits, theirs = rows["label"] == rows["predicted"], rows["label"] == rows["scratch_predicted"]
        yield estimate_rate("accuracy", name, hits.to_numpy(), rows, params)
        yield from estimate_measures(measures, name, rows, params)
        gains = hits.astype(int) - theirs.astype(int)
        yield estimate_gain("accuracy_gain_over_scratch", name, gains.to_numpy(), rows, params)
        for label, part in rows.groupby("label", sort=True):
            yield estimate_rate("recall", f"{name}/label={label}", hits[part.index].to_numpy(), part, params)
