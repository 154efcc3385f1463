"""The experiment budget: when candidates on one test set are enough, as the plan's section `stop` says.

A line of work is the candidates that were scored on the same images, each model once. It is a rule of economy: it says
when further tries cost more than they bring, and does not change what a verdict means. Raising it in the plan is
therefore no new plan (see Plan.digest).
"""

from collections.abc import Iterable

from tasks.ledger import Entry
from tasks.plan import Nothing, Plan


def accuracies(models: Iterable[str], decisions: Iterable[Entry]) -> list[float]:
    """The accuracy on test that the last decision on each model recorded, in the order of `models`."""
    known = {d.body["evidence"]["model"]: d.body["accuracy"] for d in decisions}
    return [known[model]["value"] for model in models if known.get(model)]


def why_stopped(plan: Plan, models: list[str], values: list[float]) -> str | None:
    """The sentence that ends the line of work before a further candidate is scored; None while it goes on.

    `models` were scored before, `values` (oldest first) are the accuracies of those that were decided on.
    """
    stop = plan.stop
    if isinstance(stop, Nothing):
        return None
    way_out = "nothing more is scored: the owner raises `stop` in the plan, with a reason, or fresh images are labelled"
    if len(models) >= stop.candidates:
        return f"{len(models)} candidates were scored on these test images, and the plan stops there; {way_out}"
    before, recent = values[: -stop.over], values[-stop.over :]
    if before and max(recent) < max(before) + stop.least_gain:
        return (
            f"none of the last {stop.over} candidates was {100 * stop.least_gain:g} points more accurate on test than "
            f"the best before them ({100 * max(recent):.1f} % against {100 * max(before):.1f} %), and the plan stops "
            f"there; {way_out}"
        )
    return None
