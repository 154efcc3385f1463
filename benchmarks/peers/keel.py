"""Keel: decode all once, then train phase by phase. Unlike its peers here it validates after every epoch, and pays."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from benchmarks.peers.job import Job, Photos
from tasks.finetune import Tensors, Trained
from tasks.finetune import train as train_keel
from tasks.params import FinetuneParams, Phase, load_section
from tasks.pixels import load_pixels


def train(job: Job) -> nn.Module:
    """From the files to the network with the best weights."""
    return fit(job, decode(job)).net


def decode(job: Job) -> Tensors:
    """The photographs of both splits as tensors; every file's digest is verified on the way."""
    return {"train": tensors(job, job.train), "validation": tensors(job, job.validation)}


def tensors(job: Job, photos: Photos) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (N, 3, S, S), int64 (N,)."""
    manifest = pd.DataFrame({"path": photos.files, "sha256": photos.sha256})
    memory = parameters(job).trainer.memory_mb
    return load_pixels(Path(job.root), manifest, job.image_size, memory), torch.tensor(photos.targets)


def fit(job: Job, decoded: Tensors) -> Trained:
    """All phases at the job's rate."""
    passport = {"name": "benchmark", "architecture": job.architecture, "mean": job.mean, "std": job.std}
    phases = [Phase(**phase) for phase in job.phases]
    return train_keel(passport, Path(job.weights), job.rate, phases, parameters(job), decoded, job.classes)


def parameters(job: Job) -> FinetuneParams:
    """params.yaml's, but for what all engines share; no phase ends early, so that epochs are what they say.

    Precision and memory layout are the engine's own choice, whose timing is part of what is measured here.
    """
    file = Path("params.yaml")
    trainer = load_section(FinetuneParams, file).trainer.model_dump()
    shared: dict[str, Any] = {
        "seed": job.seed,
        "image_size": job.image_size,
        "batch_size": job.batch_size,
        "label_smoothing": job.label_smoothing,
        "weight_decay": job.weight_decay,
        "augmentation": job.augmentation,
        "trainer": {**trainer, "accelerator": "cpu", **job.options.get("trainer", {})},
        "stop_level": 0,
        "patience": sum(phase["epochs"] for phase in job.phases),
    }
    return load_section(FinetuneParams, file, {**job.options, **shared})
