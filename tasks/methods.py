"""How a model was made and judged, in sentences, from what is on record alone: the methods section of the report."""

from typing import Any

import pandas as pd

from tasks.dossier import Dossier
from tasks.model_card import ORDER
from tasks.plan import Plan, Reuse


def methods(dossier: Dossier, audit: dict[str, Any], curves: list[pd.DataFrame]) -> list[tuple[str, list[str]]]:
    """Title and sentences of each part; `audit` is the record of the augmentation's audit, `curves` those of training
    and of training from scratch."""
    return [
        ("Data", _data(dossier)),
        ("Backbone", [dossier.passport["chosen"]["sentence"], f"Licence: {dossier.passport['licence']}."]),
        ("Augmentation", [f"{audit['sentence'].rstrip('.')}."]),
        ("Training", _training(dossier, curves)),
        ("Statistics", _statistics(dossier)),
        ("Plan", _plan(dossier.plan)),
        ("Approval", _approval(dossier)),
    ]


def _data(dossier: Dossier) -> list[str]:
    sizes = dossier.manifest["split"].value_counts()
    shares = ", ".join(f"{sizes[name]} {name}" for name in ORDER if name in sizes)
    said = [
        f"{dossier.data['sentence']}.",
        f"{len(dossier.manifest)} images were dealt out before anything was learnt: {shares} "
        f"(seed {dossier.params['split']['seed']}).",
        "No group (writer, patient, device: whatever the project names) lies in two splits.",
    ]
    return said + (["The mirror stands for the place of use and is never trained on."] if "mirror" in sizes else [])


def _training(dossier: Dossier, curves: list[pd.DataFrame]) -> list[str]:
    facts, knobs = dossier.facts, dossier.params["finetune"]
    ours, scratch = (", ".join(f"{rate:g}" for rate in sorted(table["rate"].unique())) for table in curves)
    opened = curves[0].groupby("phase")["open"].first()
    extras = [f"{name} {knobs[name]:g}" for name in ("drop_path", "mixup", "cutmix", "l2_sp", "ema") if knobs[name]]
    blended = facts.get("interpolated")
    return [
        f"{facts['architecture']} on {facts['train_images']} images at {facts['image_size']} pixels, in batches of "
        f"{knobs['batch_size']}, unfrozen in phases: {', then '.join(str(part) for part in opened)}.",
        f"Learning rates tried: {ours}; {facts['rate']:g} had the lowest validation loss "
        f"({facts['validation_loss']:.4f}) and was kept.",
        f"Weight decay {knobs['weight_decay']:g}, label smoothing {knobs['label_smoothing']:g}, a phase ends after "
        f"{knobs['patience']} epochs without gain; seed {facts['seed']}"
        + (f"; {', '.join(extras)}." if extras else "."),
        *(
            [f"The weights lie between the champion's and the new ones, at a share of {blended['share']:g} of the new."]
            if blended
            else []
        ),
        *(f"{note[0].upper()}{note[1:]}." for note in facts["training"]),
        f"The baseline is the same network from random weights, as many epochs, rates {scratch}.",
        f"Confidences were scaled by temperature {facts['temperature']:.3f}, fitted on the calibration split "
        "(Guo et al. 2017).",
    ]


def _statistics(dossier: Dossier) -> list[str]:
    knobs = dossier.params["evaluate"]
    return [
        f"Every figure has an interval at {100 * knobs['level']:g} % confidence; the title of a figure (hold the "
        "pointer over it) says by which method.",
        f"Where images belong together, whole groups are resampled, {knobs['resamples']} times (seed {knobs['seed']}); "
        f"with fewer than {knobs['min_clusters']} groups it is units, such as one scan.",
        "A demand is met when the end of the interval that speaks against the model meets it; among many slices of one "
        "demand a failure must stand after Holm's correction (1979).",
    ]


def _plan(plan: Plan) -> list[str]:
    reuse = plan.reuse
    spent = (
        f"One test set may be opened {plan.openings} times."
        if isinstance(reuse, Reuse)
        else f"Openings of a test set are counted, not limited: {reuse.none}"
    )
    return [
        f"Version {plan.version}, digest {plan.digest}; owner {plan.owner}, to be reviewed by {plan.review_by}.",
        "It was entered in the ledger before the test set was opened; where it was not, the verdict says so.",
        spent,
    ]


def _approval(dossier: Dossier) -> list[str]:
    asked, waived = dossier.plan.approval, dossier.standing["waivers"]
    said = (
        "The plan asks for nobody's approval."
        if asked is None
        else f"A PASS is promoted once {' and '.join(asked.roles)} approve; that counts for {asked.valid_days} days."
    )
    waivers = ", ".join(f"{name} (entry {number})" for name, number in waived.items())
    return [said, f"Waived: {waivers}." if waived else "No waiver was needed."]
