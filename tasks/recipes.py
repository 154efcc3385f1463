"""What is compared: the methods of a transfer certificate, and the recipe with one ingredient removed.

    scratch   random weights, all open from the start, without what assumes pretrained stages (layer-wise decay)
    probe     the head alone on frozen features
    full      all open from the start
    lp-ft     the head first, then all at a lower rate (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features
              and Underperform Out-of-Distribution", ICLR)
    gradual   the project's own phases

All get the same number of epochs and, but for what is named above, the same parameters.
"""

import math
from collections.abc import Iterator
from typing import Any

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from tasks.errors import BadInput
from tasks.params import CertifyParams, FinetuneParams, Phase

FULL_RECIPE, PRETRAINING, UNFREEZING = "full recipe", "pretraining", "unfreezing"
FOR_PRETRAINED = {"layer_decay": 1.0, "l2_sp": 0.0}  # parameter -> its value where there is nothing to hold on to
MACHINERY = frozenset({"trainer", "stop_level"})  # how the work is done and when it ends: no ingredients


class Recipe(BaseModel):
    """One way to train: from which weights, in which phases, with which parameters, at which learning rates."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    pretrained: bool
    phases: list[Phase]
    params: FinetuneParams
    rates: list[float]


def method_recipe(name: str, finetune: FinetuneParams, certify: CertifyParams, epochs: int) -> Recipe:
    """One of METHODS, at a budget of epochs."""
    first = math.ceil(epochs / 2)
    phases = {
        "probe": [Phase(open="head", epochs=epochs, rate=1)],
        "lp-ft": [
            Phase(open="head", epochs=first, rate=1),
            Phase(open="all", epochs=epochs - first, rate=certify.lp_ft_rate),
        ],
        "gradual": scale_phases(finetune.phases, epochs),
    }.get(name, [Phase(open="all", epochs=epochs, rate=1)])
    scratch = name == "scratch"
    off = {key: value for key, value in FOR_PRETRAINED.items() if key in FinetuneParams.model_fields}
    params = finetune.model_copy(update=off) if scratch else finetune
    return Recipe(name=name, pretrained=not scratch, phases=phases, params=params, rates=certify.rates[name])


def scale_phases(phases: list[Phase], epochs: int) -> list[Phase]:
    """The phases with `epochs` dealt out in proportion to their own, by largest remainders, none left without."""
    if epochs < len(phases):
        raise BadInput(f"params.yaml, section certify: {epochs} epochs cannot hold {len(phases)} phases; give more")
    total = sum(phase.epochs for phase in phases)
    shares = [phase.epochs * epochs / total for phase in phases]
    dealt = [max(1, math.floor(share)) for share in shares]
    order = sorted(range(len(phases)), key=lambda place: dealt[place] - shares[place])
    for place in order[: max(0, epochs - sum(dealt))]:
        dealt[place] += 1
    while sum(dealt) > epochs:
        dealt[dealt.index(max(dealt))] -= 1
    return [phase.model_copy(update={"epochs": count}) for phase, count in zip(phases, dealt, strict=True)]


def epochs_for(images: int, certify: CertifyParams, finetune: FinetuneParams) -> int:
    """The budget at a number of training images: that of the certificate, or what the least number of steps takes."""
    steps = math.ceil(images / finetune.batch_size)
    return max(certify.epochs, math.ceil(certify.least_steps / steps))


def ablation_recipes(finetune: FinetuneParams, certify: CertifyParams, epochs: int) -> Iterator[Recipe]:
    """The gradual recipe, then the same with one ingredient removed, each ingredient in turn."""
    gradual = method_recipe("gradual", finetune, certify, epochs)
    yield gradual.model_copy(update={"name": FULL_RECIPE})
    yield method_recipe("scratch", finetune, certify, epochs).model_copy(update={"name": PRETRAINING})
    yield method_recipe("full", finetune, certify, epochs).model_copy(update={"name": UNFREEZING})
    for name, params in without_each(finetune):
        yield gradual.model_copy(update={"name": name, "params": params})


def without_each(record: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, the record without it) for every ingredient that is switched on.

    A record without a default, such as the augmentation, is searched for ingredients of its own.
    """
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if name in MACHINERY:
            continue
        if isinstance(value, BaseModel) and field.is_required():
            for inner, without in without_each(value, f"{name}: "):
                yield inner, record.model_copy(update={name: without})
        else:
            off = switched_off(field)
            if off is not None and value != off:
                yield f"{prefix}{name.replace('_', ' ')}", record.model_copy(update={name: off})


def switched_off(field: FieldInfo) -> Any:
    """The value at which the field of an ingredient does nothing; None when it is no ingredient.

    A number with a fraction is off at 0 where it may be 0, and at 1 where it is a factor; a record at its default.
    """
    if isinstance(field.default, BaseModel):
        return field.default
    if field.annotation is not float:
        return None
    if any(isinstance(limit, Ge) and limit.ge == 0 for limit in field.metadata):
        return 0.0
    return 1.0 if any(isinstance(limit, Le) and limit.le == 1 for limit in field.metadata) else None
