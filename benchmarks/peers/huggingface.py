"""Hugging Face Trainer, as its image classification guide has it: the backbone frozen at first, then all of it.

https://huggingface.co/docs/transformers/tasks/image_classification, with the library's own wrapper of timm networks.
The guide's linear decay with a warm-up over a tenth of the steps is kept. Nothing is validated, logged or saved on the
way: that only costs time.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, Trainer, TrainingArguments

from benchmarks.peers.job import Job, in_layout, split_parameters
from benchmarks.peers.photos import PhotoDataset, training_transform
from tasks.weights import load_body

WARMUP = 0.1  # share of the steps


def train(job: Job) -> nn.Module:
    """One Trainer for the head, one for all."""
    torch.manual_seed(job.seed)
    config = TimmWrapperConfig(architecture=job.architecture, do_pooling=True, num_labels=job.classes)
    model = TimmWrapperForImageClassification(config)
    load_body(model.timm_model, Path(job.weights))
    in_layout(model, job)
    body, _ = split_parameters(model.timm_model)
    data = PhotoDataset(job, training_transform(job))
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        for epochs, frozen, rate in (
            (job.head_epochs, True, job.rate * job.options["head_factor"]),
            (job.all_epochs, False, job.rate),
        ):
            for parameter in body:
                parameter.requires_grad_(not frozen)
            if epochs:
                Trainer(model, arguments(job, epochs, rate, folder), data_collator=collate, train_dataset=data).train()
    return model.timm_model


def collate(rows: list[tuple[torch.Tensor, int]]) -> dict[str, Any]:
    """As in the guide: `pixel_values` and `labels`."""
    return {"pixel_values": torch.stack([row[0] for row in rows]), "labels": torch.tensor([row[1] for row in rows])}


def arguments(job: Job, epochs: int, rate: float, folder: str) -> TrainingArguments:
    """The guide's arguments, for a processor."""
    steps = epochs * -(-len(job.train.files) // job.batch_size)
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=job.batch_size,
        num_train_epochs=epochs,
        learning_rate=rate,
        warmup_steps=round(WARMUP * steps),
        weight_decay=job.weight_decay,
        label_smoothing_factor=job.label_smoothing,
        dataloader_num_workers=job.workers,
        dataloader_persistent_workers=job.workers > 0,
        dataloader_pin_memory=False,
        bf16=job.precision == "bf16",
        use_cpu=True,
        remove_unused_columns=False,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
    )
