"""Lightning with its BackboneFinetuning callback: the head alone, then the backbone too at a rate that grows.

https://lightning.ai/docs/pytorch/stable/api/lightning.pytorch.callbacks.BackboneFinetuning.html. The rates of all
groups fall exponentially, step by step: of torch's schedules one that takes in the group that the callback adds.
"""

import logging
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.peers.job import Job, create_network
from benchmarks.peers.photos import PhotoDataset, one_thread, training_transform
from tasks.unfreezing import head_modules

LAST = 0.05  # share of the rate that is left at the end


class Model(L.LightningModule):
    """`backbone`, as the callback wants it, and a linear head."""

    def __init__(self, job: Job, steps: int) -> None:
        super().__init__()
        net = create_network(job)
        name = head_modules(net)[0].split(".")[0]
        self.head = getattr(net, name)
        setattr(net, name, nn.Identity())
        self.backbone, self.job, self.steps, self.head_name = net, job, steps, name

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """The smoothed cross-entropy."""
        return F.cross_entropy(self(batch[0]), batch[1], label_smoothing=self.job.label_smoothing)

    def configure_optimizers(self) -> Any:
        """AdamW over the head; the callback adds the backbone."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        rate = self.job.rate * self.job.options["head_factor"]
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=self.job.weight_decay)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, LAST ** (1 / self.steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(job: Job) -> nn.Module:
    """One Trainer for both phases."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    L.seed_everything(job.seed, verbose=False)
    loader = DataLoader(
        PhotoDataset(job, training_transform(job)),
        job.batch_size,
        shuffle=True,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
        worker_init_fn=one_thread,
    )
    epochs = job.head_epochs + job.all_epochs
    model = Model(job, epochs * len(loader))
    unfreezing = BackboneFinetuning(
        unfreeze_backbone_at_epoch=job.head_epochs,
        lambda_func=lambda _: job.options["growth"],
        backbone_initial_ratio_lr=1 / job.options["head_factor"],
        initial_denom_lr=1,  # or the rate would be divided twice
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        callbacks=[unfreezing],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    setattr(model.backbone, model.head_name, model.head)
    return model.backbone
