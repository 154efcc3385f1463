"""Audit the augmentation policy before anything is trained with it: reject one that loses labels or does harm.

Reads the training and validation images and the frozen backbone; writes audit.json (every figure) and audit.html (the
same, with a contact sheet). A harm that is proved beyond the bounds of params.yaml stops the release by name; the page
then lies in the folder that the error names.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, select_autoescape
from torch import nn
from torch.nn import functional as F

from tasks.audit import (
    HARMFUL,
    NOT_ASSESSABLE,
    OPEN,
    POLICY,
    Check,
    Judged,
    Reading,
    check_labels,
    check_training,
    cross_fit,
    describe_policy,
    describe_reading,
    domain_gap,
    judge_checks,
    read_labels,
)
from tasks.augment import augment
from tasks.contact_sheet import a_dozen, contact_sheet
from tasks.errors import AugmentationRejected
from tasks.findings import Finding, without_nan
from tasks.finetune import Trained, network_options, targets_of, train
from tasks.params import AuditParams, Augmentation, EvaluateParams, FinetuneParams
from tasks.pixels import load_pixels
from tasks.plots import audit_losses
from tasks.scorer import outputs_of
from tasks.stage import stage
from tasks.weights import create_backbone

PAGE, FIGURES = "audit.html", "audit.json"
logger = logging.getLogger("tasks.audit_augmentation")


@dataclass(frozen=True)
class Images:
    """As much of one split as the audit looks at: rows of the manifest, uint8 (N, 3, S, S), class numbers (N,)."""

    rows: pd.DataFrame
    pixels: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Look:
    """What the frozen features say of one ingredient alone on every image, or of the whole policy."""

    domain: Finding
    reading: Reading


@stage
def audit_augmentation(
    data: Path,
    manifest: Path,
    backbone: Path,
    params: AuditParams,
    training: FinetuneParams,
    intervals: EvaluateParams,
    out: Path,
) -> None:
    """Write audit.json and audit.html; raise AugmentationRejected when an ingredient or the policy is harmful."""
    table = pd.read_parquet(manifest / "manifest.parquet")
    passport = json.loads((backbone / "passport.json").read_text(encoding="utf-8"))
    classes = sorted(table["label"].unique())
    shown, clean = (
        gather(data, table[table["split"] == split], classes, training.image_size, params)
        for split in ("train", "validation")
    )
    weights = backbone / "backbone.safetensors"
    looks = dict(look(shown, passport, weights, params, training, intervals))
    checks = [label_check(name, found.reading, shown, params, intervals) for name, found in looks.items()]
    checks += ablate(shown, clean, passport, weights, len(classes), params, training, intervals)
    judged = judge_checks(checks, intervals.level)
    figures = describe(judged, looks, shown, classes, training.augmentation)
    (out / FIGURES).write_text(json.dumps(without_nan(figures), indent=1) + "\n", encoding="utf-8")
    (out / PAGE).write_text(draw_page(figures, shown, training, params), encoding="utf-8")
    for found in judged:
        logger.info("%s", found.sentence, extra={"detail": True})
    logger.info("%s", figures["sentence"])
    refuse(judged, figures, out)


def gather(data: Path, rows: pd.DataFrame, classes: list[str], size: int, params: AuditParams) -> Images:
    """The images of `rows`, or a sample of them, decoded."""
    rows = rows.sample(min(len(rows), params.max_images), random_state=params.seed).sort_index().reset_index(drop=True)
    return Images(rows, load_pixels(data, rows, size), targets_of(rows, classes))


def look(
    shown: Images,
    passport: dict[str, Any],
    weights: Path,
    params: AuditParams,
    training: FinetuneParams,
    intervals: EvaluateParams,
) -> Iterator[tuple[str, Look]]:
    """Each ingredient that is on, alone on every image, then the whole policy as it is."""
    folds = cross_fit(shown.rows, params.seed)
    if not folds or not training.augmentation.active():
        return
    net = create_backbone(passport["architecture"], weights, 0, **network_options(passport, training.image_size)).eval()
    images, targets = shown.pixels.float() / 255, shown.targets.numpy()
    real = features(net, passport, images)
    for name, policy in named_policies(training.augmentation).items():
        generator = torch.Generator().manual_seed(params.seed)  # the same draws of an ingredient, alone or not
        views = [features(net, passport, augment(images, policy, generator)) for _ in range(params.views)]
        yield (
            name,
            Look(
                domain_gap(name, real, views[0], shown.rows, folds, intervals), read_labels(real, views, targets, folds)
            ),
        )


def named_policies(policy: Augmentation) -> dict[str, Augmentation]:
    """What is judged: each ingredient that is on, alone on every image, and the whole policy."""
    alone = {name: policy.only(name) for name in type(policy).model_fields if policy.ingredient(name).acts}
    return {**alone, POLICY: policy}


def features(net: nn.Module, passport: dict[str, Any], images: torch.Tensor) -> np.ndarray:
    """float (N, 3, S, S) in 0..1 -> the pooled features of the frozen backbone, (N, D)."""
    return outputs_of(net, images * 255, passport["mean"], passport["std"]).double().numpy()


def label_check(name: str, reading: Reading, shown: Images, params: AuditParams, intervals: EvaluateParams) -> Check:
    """Whether labels are preserved, or why that cannot be told."""
    accuracy, unfit = float(reading.real.mean()), too_few(shown, "training", params)
    if not unfit and accuracy < params.min_reading:
        unfit = (
            f"the reader is right on {100 * accuracy:.0f} % of real images, audit_augmentation.min_reading asks for "
            f"{100 * params.min_reading:g} %; choose a backbone whose features tell these classes apart"
        )
    return check_labels(name, reading, shown.rows, params.max_label_loss, unfit, intervals)


def too_few(images: Images, name: str, params: AuditParams) -> str:
    """Why nothing can be concluded from so few images; empty when there are enough."""
    if len(images.rows) >= params.min_images:
        return ""
    return f"{len(images.rows)} {name} images, audit_augmentation.min_images asks for {params.min_images}"


def ablate(
    shown: Images,
    clean: Images,
    passport: dict[str, Any],
    weights: Path,
    count: int,
    params: AuditParams,
    training: FinetuneParams,
    intervals: EvaluateParams,
) -> Iterator[Check]:
    """A short training with the policy against one without any; on request also without each ingredient."""
    policy = training.augmentation
    if not policy.active():
        return
    tensors = {"train": (shown.pixels, shown.targets), "validation": (clean.pixels, clean.targets)}

    def outcome(chosen: Augmentation) -> tuple[np.ndarray, np.ndarray]:
        given = training.model_copy(update={"augmentation": chosen})
        return score(train(passport, weights, given.rates[0], params.phases, given, tensors, count), passport, clean)

    bounds, unfit = (params.max_accuracy_loss, params.max_loss_increase), too_few(clean, "validation", params)
    whole = outcome(policy)
    yield from check_training(POLICY, outcome(Augmentation()), whole, clean.rows, bounds, unfit, intervals)
    for name in sorted(policy.active()) if params.each and len(policy.active()) > 1 else []:
        yield from check_training(name, outcome(policy.without(name)), whole, clean.rows, bounds, unfit, intervals)


def score(trained: Trained, passport: dict[str, Any], clean: Images) -> tuple[np.ndarray, np.ndarray]:
    """Hits (n,) and cross-entropies (n,) on images as they were taken."""
    logits = outputs_of(trained.net, clean.pixels, passport["mean"], passport["std"]).double()
    return (logits.argmax(1) == clean.targets).numpy(), F.cross_entropy(logits, clean.targets, reduction="none").numpy()


def describe(
    judged: list[Judged], looks: dict[str, Look], shown: Images, classes: list[str], policy: Augmentation
) -> dict[str, Any]:
    """Everything that was found, as it goes into audit.json and onto the page."""
    targets = shown.targets.numpy()
    return {
        "outcome": overall(judged),
        "sentence": conclusion(judged, policy),
        "policy": policy.model_dump(),
        "ingredients": describe_policy(policy),
        "checks": [
            {**asdict(j.check), "adjusted": j.adjusted, "outcome": j.outcome, "sentence": j.sentence} for j in judged
        ],
        "domain": {name: asdict(found.domain) for name, found in looks.items()},
        "labels": {name: describe_reading(found.reading, targets, classes) for name, found in looks.items()},
    }


def overall(judged: list[Judged]) -> str:
    """REJECTED when any harm is proved, else ACCEPTED."""
    return "REJECTED" if any(j.outcome == HARMFUL for j in judged) else "ACCEPTED"


def conclusion(judged: list[Judged], policy: Augmentation) -> str:
    """One sentence on the whole policy."""
    if not judged:
        return "the policy of augmentation is empty, or its images are too few to look at: nothing to audit"
    harmful = [j for j in judged if j.outcome == HARMFUL]
    counts = {word: sum(j.outcome == word for j in judged) for word in (OPEN, NOT_ASSESSABLE)}
    rest = "".join(f", {count} {word.lower()}" for word, count in counts.items() if count)
    found = f"{len(harmful)} harmful" if harmful else "no harm proved"
    return (
        f"{overall(judged)}: augmentation by {', '.join(describe_policy(policy))}: {len(judged)} checks, {found}{rest}"
    )


def draw_page(figures: dict[str, Any], shown: Images, training: FinetuneParams, params: AuditParams) -> str:
    """audit.html, self-contained."""
    places = a_dozen(list(shown.rows["label"]))
    page = {
        **figures,
        "strips": contact_sheet(shown.pixels[places].float() / 255, training.augmentation, params.seed),
        "plot": audit_losses(figures["checks"]) if figures["checks"] else "",
        "images": len(shown.rows),
        "views": params.views,
        "epochs": sum(phase.epochs for phase in params.phases),
    }
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    return environment.get_template("audit.html.j2").render(page)


def refuse(judged: list[Judged], figures: dict[str, Any], out: Path) -> None:
    """Raise AugmentationRejected with every harm that is proved, the figure, and the way out."""
    harmful = [j for j in judged if j.outcome == HARMFUL]
    if not harmful:
        return
    names = list(dict.fromkeys(j.check.ingredient for j in harmful))
    keys = ", ".join(f"finetune.augmentation.{name}" for name in names if name != POLICY) or "finetune.augmentation"
    notes = "".join(
        f" ({name}: {figures['labels'][name]['confused']})" for name in names[:1] if name in figures["labels"]
    )
    raise AugmentationRejected(
        f"the augmentation policy is rejected: {'; '.join(j.sentence.removeprefix(HARMFUL + ' ') for j in harmful)}"
        f"{notes}. Lower or remove {keys} in params.yaml; {out / PAGE} shows the images"
    )
