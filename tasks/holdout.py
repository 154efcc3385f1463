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
SAMPLE = 200  # images of a split that an entry names: those with the lowest sha256, which is a random draw
MARK = 16  # characters of a sha256 that tell images apart
WORN = 0.5  # a set of which a larger share was opened before is that one still


@dataclass(frozen=True)
class Holdout:
    """The images of test and mirror: the digest of their rows, how many there are in each split, and their marks."""

    digest: str
    sizes: dict[str, int]
    images: dict[str, frozenset[str]]

    @property
    def fresh_labels(self) -> str:
        """How many images to label, and for which split, so that more than half of the set is fresh."""
        return " and ".join(f"{n + 1} fresh images for {split}" for split, n in self.sizes.items())

    def share_in(self, opening: Entry) -> float:
        """About which share of these images that opening showed, in the split where it is largest: a new mirror makes
        no old test split fresh. Exact for splits of no more than SAMPLE images.

        The share of its sample that is here, times its size, is how many both have (Broder 1997).
        """
        sizes, samples = opening.body["sizes"], opening.body["sample"]

        def common(marks: frozenset[str]) -> float:
            return sum(sum(m in marks for m in s) / len(s) * sizes[split] for split, s in samples.items())

        return max(common(marks) / len(marks) for marks in self.images.values())


def read_holdout(manifest: Path) -> Holdout:
    """Test and mirror of a split stage's manifest."""
    table = read_table(manifest)
    return holdout_of(table[table["split"].isin(JUDGED)])


def holdout_of(rows: pd.DataFrame) -> Holdout:
    """The same from rows with split, sha256 and label; their order does not matter."""
    told = sorted(rows[["split", "sha256", "label"]].astype(str).itertuples(index=False, name=None))
    sizes = {split: int((rows["split"] == split).sum()) for split in JUDGED if (rows["split"] == split).any()}
    marks = {s: frozenset(mark[:MARK] for mark in rows.loc[rows["split"] == s, "sha256"]) for s in sizes}
    return Holdout(sha256_text(canonical_json(told)), sizes, marks)


def enter_plan(ledger: Ledger, project: str, plan: Plan, file: Path, by: str, terms: str = "") -> None:
    """Write down which plan is in force, in full, unless the ledger has it last, to the letter.

    `terms` is the digest of what else decides a verdict: which criteria do not apply, how figures are made.
    """
    body = {"plan": plan.digest, "terms": terms, "file": str(file), "content": plan.model_dump(mode="json")}
    entered = ledger.read(project, PLAN)
    if not entered or not body.items() <= entered[-1].body.items():
        ledger.append(PLAN, project, {**body, "by": by})


def openings_of(ledger: Ledger, project: str, holdout: Holdout) -> list[Entry]:
    """The openings that wore these images, oldest first."""
    return [entry for entry in ledger.read(project, OPENING) if holdout.share_in(entry) > WORN]


def open_holdout(
    ledger: Ledger, project: str, plan: Plan, holdout: Holdout, model: str, by: str, terms: str = ""
) -> Entry | None:
    """Enter that the model is about to be scored; when a budget is spent, return the refusal's entry instead.

    The same model under the same plan on the same rows was opened before, and is not counted again. `seen` says that
    the figures are shown to whoever asked for them, as every release does.
    """
    before = openings_of(ledger, project, holdout)
    about = {"plan": plan.digest, "terms": terms, "holdout": holdout.digest, "model": model}
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
    sample = {split: sorted(marks)[:SAMPLE] for split, marks in holdout.images.items()}
    body = {**about, "sizes": holdout.sizes, "sample": sample, "number": len(before) + 1, "seen": True, "by": by}
    ledger.append(OPENING, project, body)
    return None


def why_late(ledger: Ledger, project: str, plan: Plan, holdout: Holdout, terms: str = "") -> str | None:
    """What to say when not this plan was in force as the images were first opened; None when it was.

    In force is the last that was entered before: of several plans on record none can be picked after a look.
    """
    entered, first = ledger.read(project, PLAN), min(openings_of(ledger, project, holdout), key=lambda e: e.number)
    then = next((entry for entry in reversed(entered) if entry.number < first.number), None)
    asked = {"plan": plan.digest, "terms": terms}
    if then is not None and asked.items() <= then.body.items():
        return None
    now = next(entry for entry in reversed(entered) if asked.items() <= entry.body.items())
    same = then is not None and then.body["plan"] == plan.digest
    what = "not the plan but what decides beside it (criteria that do not apply, how figures are made) is another: it"
    return (
        f"{what if same else f'the plan in force ({plan.digest[:12]})'} was entered on {_day(now)}, after these test "
        f"images were first opened on {_day(first)} under plan {first.body['plan'][:12]}, and a bound set after a look "
        f"shows nothing; go back to what was in force then, or label {holdout.fresh_labels}"
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
