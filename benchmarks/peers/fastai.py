"""fastai: `ImageDataLoaders`, `aug_transforms` over whole batches, and `fine_tune` with its one-cycle schedule.

https://docs.fast.ai/tutorial.vision.html. The network is the same timm network as everybody's and not the one with
fastai's own larger head. Validation after each epoch, which fastai always does, is left out. Its mixed precision is
written for CUDA alone, so `precision` must be fp32.
"""

from typing import Any

import pandas as pd
import torch
from fastai.vision.all import (
    Callback,
    CancelValidException,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    PadMode,
    PILImage,
    Resize,
    ResizeMethod,
    aug_transforms,
    set_seed,
)
from PIL import Image
from torch import nn

from benchmarks.peers.job import Job, create_network, split_parameters


class NoValidation(Callback):
    """Passes over the validation of each epoch."""

    def before_validate(self) -> None:
        """End it before it begins."""
        raise CancelValidException


def train(job: Job) -> nn.Module:
    """fine_tune, or the frozen half of it."""
    if job.precision != "fp32":
        raise ValueError(f"fastai trains in fp32 on a processor; settings.yaml asks for {job.precision}")
    set_seed(job.seed)
    net = create_network(job)
    learner = Learner(
        loaders(job),
        net,
        loss_func=CrossEntropyLossFlat(label_smoothing=job.label_smoothing),
        splitter=lambda model: list(split_parameters(model)),
        wd=job.weight_decay,
        cbs=NoValidation(),
        train_bn=True,
    )
    with learner.no_bar(), learner.no_logging():
        if job.all_epochs:
            learner.fine_tune(job.all_epochs, job.rate, job.head_epochs, lr_mult=job.options["lr_mult"])
        else:
            learner.freeze()
            learner.fit_one_cycle(job.head_epochs, job.rate)
    return net


def loaders(job: Job) -> Any:
    """Decoded and squashed image by image, moved and normalised batch by batch."""
    names = [*job.train.files, job.validation.files[0]]  # fastai wants something to validate on
    table = pd.DataFrame({"name": names, "label": [*job.train.targets, job.validation.targets[0]]})
    table["is_valid"] = [False] * len(job.train.files) + [True]
    policy = job.augmentation
    moves = aug_transforms(
        do_flip=False,
        max_rotate=policy["turn"],
        min_zoom=1 - policy["scale"],
        max_zoom=1 + policy["scale"],
        max_lighting=0.0,
        max_warp=0.0,
        p_affine=1.0,
        pad_mode=PadMode.Border,
    )
    squash = Resize(job.image_size, ResizeMethod.Squish, resamples=(Image.Resampling.BICUBIC, Image.Resampling.NEAREST))
    return ImageDataLoaders.from_df(
        table,
        job.root,
        valid_col="is_valid",
        item_tfms=squash,
        batch_tfms=[*moves, Normalize.from_stats(job.mean, job.std)],
        bs=job.batch_size,
        num_workers=job.workers,
        device=torch.device("cpu"),
        img_cls=PILImage,
        y_block=None,
    )
