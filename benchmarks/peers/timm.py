"""A plain loop of timm's own parts, in the manner of its train.py: loader, optimizer, schedule, label smoothing.

https://huggingface.co/docs/timm/training_script. timm has no turning and shifting of its own: its random resized crop
moves and scales instead, over the same range of sizes. Its loader drops the last, smaller batch.
"""

import torch
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import freeze, unfreeze
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.peers.job import Job, create_network
from benchmarks.peers.photos import PhotoDataset
from tasks.unfreezing import head_modules

WARMUP = 0.1  # share of the steps
Batches = DataLoader[list[torch.Tensor]]


def train(job: Job) -> nn.Module:
    """The head with the body frozen, BatchNorm included, then all."""
    torch.manual_seed(job.seed)
    net = create_network(job)
    batches = loader(job)
    body = [name for name, _ in net.named_children() if name not in {m.split(".")[0] for m in head_modules(net)}]
    if job.head_epochs:
        freeze(net, body)
        fit(net, batches, job, job.head_epochs, job.rate * job.options["head_factor"])
        unfreeze(net, body)
    if job.all_epochs:
        fit(net, batches, job, job.all_epochs, job.rate)
    return net


def loader(job: Job) -> Batches:
    """timm's loader with crops of the job's range of sizes."""
    least, most = (1 - job.augmentation["scale"]) ** 2, 1.0
    return create_loader(
        PhotoDataset(job),
        input_size=(3, job.image_size, job.image_size),
        batch_size=job.batch_size,
        is_training=True,
        scale=(least, most),
        ratio=(1 - job.augmentation["scale"], 1 / (1 - job.augmentation["scale"])),
        hflip=0.0,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=tuple(job.mean),
        std=tuple(job.std),
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
        use_prefetcher=False,
        device=torch.device("cpu"),
    )


def fit(net: nn.Module, batches: Batches, job: Job, epochs: int, rate: float) -> None:
    """AdamW with a cosine over these epochs."""
    optimizer = create_optimizer_v2(net, opt="adamw", lr=rate, weight_decay=job.weight_decay)
    steps = epochs * len(batches)
    warmup = round(WARMUP * steps)
    schedule = CosineLRScheduler(
        optimizer, t_initial=steps, warmup_t=warmup, warmup_lr_init=rate / 100, t_in_epochs=False
    )
    loss_function = LabelSmoothingCrossEntropy(job.label_smoothing)
    schedule.step_update(0)
    step = 0
    for _ in range(epochs):
        net.train()
        for images, targets in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
                loss = loss_function(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            schedule.step_update(step)
