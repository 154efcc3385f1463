"""The data set and the torchvision transforms that users of Hugging Face and of Lightning write, and timm's too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks.peers.job import Job


class PhotoDataset(Dataset[tuple[Any, int]]):
    """(image, target) of each training photograph, decoded from its file whenever it is asked for."""

    def __init__(self, job: Job, transform: Callable[[Image.Image], Any] | None = None) -> None:
        self.files = [Path(job.root, name) for name in job.train.files]
        self.targets, self.transform = job.train.targets, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        with Image.open(self.files[place]) as file:
            image = file.convert("RGB")
        return self.transform(image) if self.transform else image, self.targets[place]


def training_transform(job: Job) -> transforms.Compose:
    """Squash to a square, turn, shift and scale as the job says, normalise.

    The image is still Pillow's while it is moved: for one small image that is the fastest of torchvision's ways.
    """
    policy = job.augmentation
    return transforms.Compose(
        [
            transforms.Resize((job.image_size, job.image_size), transforms.InterpolationMode.BICUBIC),
            transforms.RandomAffine(
                degrees=policy["turn"],
                translate=(policy["shift"], policy["shift"]),
                scale=(1 - policy["scale"], 1 + policy["scale"]),
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ToTensor(),
            transforms.Normalize(job.mean, job.std),
        ]
    )


def one_thread(_: int) -> None:
    """A worker decodes on one thread."""
    torch.set_num_threads(1)
