"""What do the answers rest on, and can the attributions be believed: from the table of the stage attribute.

The probes are interventions and need no attribution: a network that reads a mark in the border, or the colour of the
background, answers otherwise when these come from an image of another class.
"""

from collections.abc import Iterator

from tasks.errors import EvidenceMissing
from tasks.estimates import estimate_change, estimate_rate
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.predictions import join_attributions, model_of

METRICS = (
    *("attribution_gain_over_random", "random_weights_correlation", "border_attribution"),
    *("border_reliance", "background_reliance"),
)


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Five findings on `test`, from the images that were attributed; without attributions, nothing.

    `attribution_gain_over_random` is the area under the insertion curve minus that under the deletion curve (Petsiuk,
    Das & Saenko 2018), minus the same for regions in random order: 0 when attributions know no more than chance.
    `random_weights_correlation` is Spearman's, with the attributions of the same architecture on random weights
    (Adebayo et al. 2018): near 1 when they show the image and not the network. `border_attribution` is the border's
    share of all attribution. `border_reliance` and `background_reliance` are the shares of answers that change when
    border or background are those of another class.
    """
    if evidence.attributions is None:
        return
    rows, params = join_attributions(evidence.attributions, evidence.manifest), evidence.params
    if model_of(rows) != model_of(evidence.judged):
        raise EvidenceMissing(f"model {model_of(rows)[:12]} was attributed, not the candidate; run the stage attribute")
    ours, theirs = (
        (rows[f"{prefix}insertion_auc"] - rows[f"{prefix}deletion_auc"]).to_numpy() for prefix in ("", "random_")
    )
    yield estimate_change("attribution_gain_over_random", "test", ours - theirs, rows, params)
    for metric, column in (("random_weights_correlation",) * 2, ("border_attribution", "border_share")):
        yield estimate_change(metric, "test", rows[column].to_numpy(), rows, params)
    for metric, column in (("border_reliance", "border_changes"), ("background_reliance", "background_changes")):
        yield estimate_rate(metric, "test", rows[column].to_numpy(), rows, params)
