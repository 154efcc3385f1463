"""Pretraining on formula-drawn images: writes `backbone.safetensors` and `pretrain.json`, reads no image file.

Telling apart a few hundred invented shapes in ever new colours, lights and warps teaches a network contours. The
randomisation grows from nothing (see `strength`): after 1,000 steps of the bundled recipe 58 % of the last 100 batches'
pictures are named rightly, and with all of the randomisation from the start 2 %.

The same seed gives the same bytes on the same machine and versions, whatever number of threads torch was given: the
stage trains on `params.threads` of them, and on the CPU alone, for sums in another order round differently.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from timm.models import get_pretrained_cfg
from torch import nn
from torch.nn import functional as F

from tasks.formula_images import draw_figures, randomise
from tasks.params import PretrainParams
from tasks.stage import stage

WEIGHTS, FACTS = "backbone.safetensors", "pretrain.json"
LAST = 100  # steps that the final loss and accuracy are averaged over
logger = logging.getLogger("tasks.pretrain")


@stage
def pretrain(params: PretrainParams, out: Path) -> None:
    """Train the architecture to name formula classes; keep the averaged weights without the classifier, in fp16."""
    with fixed_randomness(params.seed, params.threads):
        figures = torch.from_numpy(draw_figures(params.classes, params.instances, params.image_size, params.seed))
        logger.info("drew %d figures of %d classes", params.classes * params.instances, params.classes)
        net = build(params, params.classes)
        average, results = train(net, figures, params)
        body = body_of(average, params)
    (out / WEIGHTS).write_bytes(save(body))
    facts = {
        "recipe": params.model_dump(mode="json", exclude_defaults=True),
        "seed": params.seed,
        "classes": params.classes,
    } | results
    (out / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def build(params: PretrainParams, classes: int) -> nn.Module:
    """The architecture at random weights; one with position embeddings gets those of the recipe's image size."""
    cfg = get_pretrained_cfg(params.architecture)
    options: dict[str, Any] = {"img_size": params.image_size} if cfg and cfg.fixed_input_size else {}
    net: nn.Module = timm.create_model(params.architecture, pretrained=False, num_classes=classes, **options)
    return net


@contextmanager
def fixed_randomness(seed: int, threads: int) -> Iterator[None]:
    """Torch's generator and number of threads as given, and afterwards as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def train(
    net: nn.Module, figures: torch.Tensor, params: PretrainParams
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """uint8 (classes, instances, S, S) -> the moving average of the weights, and what the last steps achieved."""
    net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(parameter_groups(net, params.weight_decay), lr=params.rate)
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    generator = torch.Generator().manual_seed(params.seed)
    curve: list[tuple[float, float]] = []
    for step in range(params.steps):
        for group in optimizer.param_groups:
            group["lr"] = params.rate * height(step, params.warmup_steps, params.steps)
        pictures, labels = draw_batch(figures, step, params, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=params.precision == "bf16"):
            logits = net(pictures)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=params.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), params.clip)
        optimizer.step()
        move_average(average, net, min(params.average, (1 + step) / (10 + step)))
        curve.append((float(loss.detach()), float((logits.argmax(1) == labels).float().mean())))
        if (step + 1) % LAST == 0:
            logger.info("step %d of %d: loss %.3f, accuracy %.3f", step + 1, params.steps, *mean_of(curve[-LAST:]))
    loss_, accuracy = mean_of(curve[-LAST:])
    seen = params.steps * params.batch_size
    return average, {"images_seen": seen, "final_loss": round(loss_, 6), "final_accuracy": round(accuracy, 6)}


def draw_batch(
    figures: torch.Tensor, step: int, params: PretrainParams, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures, float (B, 3, size, size) in the network's units, and their classes (B,), as the curriculum has it."""
    labels = torch.randint(len(figures), (params.batch_size,), generator=generator)
    instances = torch.randint(figures.shape[1], (params.batch_size,), generator=generator)
    size = params.small_size if step < params.small_share * params.steps else params.image_size
    pictures = randomise(figures[labels, instances], strength(step, params), size, generator)
    centre, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (params.mean, params.std))
    return ((pictures - centre) / spread).contiguous(memory_format=torch.channels_last), labels


def strength(step: int, params: PretrainParams) -> float:
    """How far pictures are randomised: 0 until `ramp_start` of the steps, then linearly up to 1 at `ramp_end`."""
    share = (step / params.steps - params.ramp_start) / (params.ramp_end - params.ramp_start)
    return min(1.0, max(0.0, share))


def height(step: int, warmup: int, steps: int) -> float:
    """The learning rate at a step as a share of the highest: a linear rise, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels decay; what has one dimension, norms and biases, does not."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def move_average(average: dict[str, torch.Tensor], net: nn.Module, keep: float) -> None:
    """average = keep x average + (1 - keep) x now, the running statistics of BatchNorm too; counters are copied."""
    for name, now in net.state_dict().items():
        if now.is_floating_point():
            average[name].lerp_(now, 1 - keep)
        else:
            average[name].copy_(now)


def body_of(weights: dict[str, torch.Tensor], params: PretrainParams) -> dict[str, torch.Tensor]:
    """What the architecture has without a classifier, floats in half precision, in safetensors' memory order."""
    names = build(params, 0).state_dict()
    body = {name: weights[name] for name in names}
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in body.items()}


def mean_of(curve: list[tuple[float, float]]) -> tuple[float, float]:
    """The mean loss and the mean accuracy of some steps."""
    losses, accuracies = zip(*curve, strict=True)
    return sum(losses) / len(curve), sum(accuracies) / len(curve)
