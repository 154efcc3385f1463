"""Test and mirror as images that wear out: which plan was there before anybody looked, and how often somebody did.

A bound set after a look at the result shows nothing, and a test set that models are chosen by becomes a part of their
training (Dwork et al. 2015, "The reusable holdout"). The ledger therefore holds two kinds of entry: `plan`, written
before there is a result, and `opening`, written before each scoring. A result under a plan that was first entered after
the images were first opened cannot pass, and a plan's section `reuse` says when its images are spent.

Images are told by their sha256. An opening counts against every later set of which more than half the images were in
it, so that neither a corrected label nor a few new images make a worn set a fresh one.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.digests import canonical_json, sha256_text
from tasks.ledger import Entry, Ledger
from tasks.line_of_work import accuracies, why_stopped
from tasks.plan import Plan, Reuse
from tasks.predictions import read_table
from tasks.slices import JUDGED

PLAN, OPENING, REFUSAL = "plan", "opening", "refusal"
SAMPLE = 200  # images of a set that an entry names: those with the lowest sha256, which is a random draw
MARK = 16  # characters of a sha256 that tell images apart
WORN = 0.5  # a set of which a larger share was opened before is that one still


@dataclass(frozen=True)
class Holdout:
    """The images of test and mirror: the digest of their rows, how many there are in each split, and their marks."""

    digest: str
    sizes: dict[str, int]
    images: frozenset[str]

    @property
    def fresh_labels(self) -> str:
        """How many images to label, and for which split, so that more than half of the set is fresh."""
        return " and ".join(f"{n + 1} fresh images for {split}" for split, n in self.sizes.items())

    def share_in(self, opening: Entry) -> float:
        """About which share of these images that opening showed: exact for sets of no more than SAMPLE images.

        The share of its sample that is here, times its size, is how many both have (Broder 1997).
        """
        sample = opening.body["sample"]
        common = sum(mark in self.images for mark in sample) / len(sample) * sum(opening.body["sizes"].values())
        return common / sum(self.sizes.values())


def read_holdout(manifest: Path) -> Holdout:
    """Test and mirror of a split stage's manifest."""
    table = read_table(manifest)
    return holdout_of(table[table["split"].isin(JUDGED)])


def holdout_of(rows: pd.DataFrame) -> Holdout:
    """The same from rows with split, sha256 and label; their order does not matter."""
    told = sorted(rows[["split", "sha256", "label"]].astype(str).itertuples(index=False, name=None))
    sizes = {split: int((rows["split"] == split).sum()) for split in JUDGED if (rows["split"] == split).any()}
    return Holdout(sha256_text(canonical_json(told)), sizes, frozenset(mark[:MARK] for mark in rows["sha256"]))


def enter_plan(ledger: Ledger, project: str, plan: Plan, file: Path, by: str) -> None:
    """Write down which plan is in force, in full, unless it is the one that the ledger has last."""
    entered = ledger.read(project, PLAN)
    if not entered or entered[-1].body["plan"] != plan.digest:
        content = plan.model_dump(mode="json")
        ledger.append(PLAN, project, {"plan": plan.digest, "file": str(file), "content": content, "by": by})


def openings_of(ledger: Ledger, project: str, holdout: Holdout) -> list[Entry]:
    """The openings that wore these images, oldest first."""
    return [entry for entry in ledger.read(project, OPENING) if holdout.share_in(entry) > WORN]


def open_holdout(ledger: Ledger, project: str, plan: Plan, holdout: Holdout, model: str, by: str) -> Entry | None:
    """Enter that the model is about to be scored; when a budget is spent, return the refusal's entry instead.

    The same model under the same plan on the same rows was opened before, and is not counted again. `seen` says that
    the figures are shown to whoever asked for them, as every release does.
    """
    before = openings_of(ledger, project, holdout)
    about = {"plan": plan.digest, "holdout": holdout.digest, "model": model}
    if any(about.items() <= entry.body.items() for entry in before):
        return None
    models = list(dict.fromkeys(entry.body["model"] for entry in before))
    sentence = None
    if isinstance(plan.reuse, Reuse) and len(before) >= plan.openings:
        sentence = describe_spent(plan, plan.reuse, len(before), holdout)
    elif model not in models:
        sentence = why_stopped(plan, models, accuracies(models, ledger.read(project, "decision")))
    if sentence is not None:
        return ledger.append(REFUSAL, project, {**about, "sentence": sentence, "by": by})
    sample = sorted(holdout.images)[:SAMPLE]
    body = {**about, "sizes": holdout.sizes, "sample": sample, "number": len(before) + 1, "seen": True, "by": by}
    ledger.append(OPENING, project, body)
    return None


def why_late(ledger: Ledger, project: str, plan: Plan, holdout: Holdout) -> str | None:
    """What to say when the plan was first entered after the images were first opened; None when it came before."""
    entered = next(entry for entry in ledger.read(project, PLAN) if entry.body["plan"] == plan.digest)
    first = min(openings_of(ledger, project, holdout), key=lambda entry: entry.number)
    if entered.number < first.number:
        return None
    return (
        f"the plan in force ({plan.digest[:12]}) was first entered on {_day(entered)}, after these test images were "
        f"first opened on {_day(first)} under plan {first.body['plan'][:12]}, and a bound set after a look shows "
        f"nothing; go back to a plan of before, or label {holdout.fresh_labels}"
    )


def describe_spent(plan: Plan, reuse: Reuse, times: int, holdout: Holdout) -> str:
    """What an exhausted budget says: what was spent, on what, and what to label."""
    often = f"{times} time{'' if times == 1 else 's'}"
    return (
        f"the test images were opened {often}, which at {plan.error:g} each spends the {reuse.alpha:g} "
        f"that the plan allows ({reuse.method}); nothing more is scored on them: label {holdout.fresh_labels}"
    )


def _day(entry: Entry) -> str:
    return entry.at[:16].replace("T", " ") + " UTC"
