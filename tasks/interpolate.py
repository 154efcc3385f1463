"""Halfway between the champion and a candidate: a model that gains most of it and takes back less.

When negative flips alone stand against a candidate, the weights between the two are tried (WiSE-FT: Wortsman et al.
2022, "Robust fine-tuning of zero-shot models", section 3; for flips: Yan et al. 2021). The share of the new weights is
chosen on the validation split; BatchNorm's statistics are measured anew on the training images, for those of an
average are not the average of those (Izmailov et al. 2018, section 3.2); the temperature is fitted anew on the
calibration split. The outcome is a candidate like any other, judged on its own.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import update_bn

from tasks.digests import identity
from tasks.finetune import NOTICE, fit_temperature, load_tensors
from tasks.params import InterpolateParams
from tasks.scorer import FACTS, WEIGHTS, Scorer, normalise, outputs_of
from tasks.stage import stage

BATCH = 128
logger = logging.getLogger("tasks.interpolate")


def can_interpolate(champion: Path, model: Path) -> bool:
    """Whether the two folders hold weights of one network for the same classes."""
    if not (champion / FACTS).is_file():
        return False
    theirs, ours = (json.loads((f / FACTS).read_text(encoding="utf-8")) for f in (champion, model))
    return all(theirs[k] == ours[k] for k in ("architecture", "options", "classes", "image_size", "mean", "std"))


@stage
def interpolate(
    data: Path, manifest: Path, champion: Path, model: Path, budget: float, params: InterpolateParams, out: Path
) -> None:
    """Write the model folder between the folders `champion` and `model`.

    Of the shares whose negative flips on validation stay within `budget` the most accurate there is taken; where none
    does, the one with the fewest flips. Of equals, the nearest to the candidate.
    """
    old, new = Scorer(champion, "cpu"), Scorer(model, "cpu")
    table, facts = pd.read_parquet(manifest / "manifest.parquet"), new.facts
    tensors = load_tensors(data, table, new.classes, facts["image_size"])
    pixels, targets = tensors["validation"]
    before = _hits(old.net, pixels, targets, facts)
    tried = []
    for share in sorted(params.shares, reverse=True):
        blend(old.net, new.net, share, tensors["train"][0], facts)
        hits = _hits(new.net, pixels, targets, facts)
        tried.append((share, float(hits.mean()), float((before & ~hits).mean())))
        new.net.load_state_dict(Scorer(model, "cpu").net.state_dict())
        logger.info("%g of the new weights: accuracy %.3f, flips %.3f on validation", *tried[-1])
    within = [t for t in tried if t[2] <= budget]
    share, accuracy, flips = max(within, key=lambda t: t[1]) if within else min(tried, key=lambda t: t[2])
    blend(old.net, new.net, share, tensors["train"][0], facts)
    chosen = {
        "share": share,
        "of": identity(model),
        "validation_accuracy": accuracy,
        "validation_negative_flips": flips,
    }
    facts |= {
        "temperature": fit_temperature(new.net, facts, *tensors["calibration"]),
        "interpolated": chosen,
        "training": [*facts["training"], f"weights: {share:g} of these and {1 - share:g} of the champion's"],
    }
    save_file({k: v.contiguous() for k, v in new.net.state_dict().items()}, out / WEIGHTS)
    (out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for name in (NOTICE, "curves.csv"):
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)


def blend(old: nn.Module, new: nn.Module, share: float, train: torch.Tensor, facts: dict[str, Any]) -> None:
    """Set `new` to `share` of its own parameters and the rest of `old`'s; `train` are uint8 images (N, 3, S, S)."""
    theirs = dict(old.named_parameters())
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            parameter.copy_(share * parameter + (1 - share) * theirs[name])

    def batches() -> Iterator[torch.Tensor]:
        for part in train.split(BATCH):
            yield normalise(part, facts["mean"], facts["std"])

    update_bn(batches(), new)
    new.eval()


def _hits(net: nn.Module, pixels: torch.Tensor, targets: torch.Tensor, facts: dict[str, Any]) -> np.ndarray:
    logits = outputs_of(net, pixels, facts["mean"], facts["std"])
    return np.asarray((logits.argmax(dim=1) == targets).numpy())
