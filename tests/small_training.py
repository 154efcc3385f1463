"""A training run of a second on drawn images, for the tests of the training loop and of its resume."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model

from tasks.finetune import Tensors, Trained, train
from tasks.params import Augmentation, FinetuneParams, Phase, TrainerParams

PHASES = [
    Phase(open="head", epochs=2, rate=1.0),
    Phase(open=2, epochs=3, rate=0.5),
    Phase(open="all", epochs=2, rate=0.3),
]
PARAMS = FinetuneParams(
    seed=3,
    image_size=32,
    batch_size=8,
    phases=PHASES,
    rates=[0.01],
    scratch_rates=[0.01],
    layer_decay=0.8,
    weight_decay=0.05,
    label_smoothing=0.1,
    warmup_steps=2,
    patience=5,
    augmentation=Augmentation(turn=5, shift=0.02, scale=0.02),
    trainer=TrainerParams(accelerator="cpu", precision="32-true", memory_format="channels_last", checkpoint_seconds=0),
)


def passport(architecture: str) -> dict[str, Any]:
    """What the engine must know of a backbone."""
    fixed = "vit" in architecture
    return {"architecture": architecture, "mean": [0.5] * 3, "std": [0.25] * 3, "fixed_input_size": fixed}


def drawn_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (count, 3, 32, 32) noise whose left half is dark or light, and which it is."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(60, 190, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    targets = torch.arange(count) % 3
    pixels[:, :, :, :12] = (targets * 90 + 30).to(torch.uint8).view(-1, 1, 1, 1)
    return pixels, targets


def tensors() -> Tensors:
    """Twenty-nine images to train on, so that the last batch is smaller, and twelve to validate."""
    return {"train": drawn_images(29, 1), "validation": drawn_images(12, 2)}


def run(architecture: str, keep: Path | None = None, **changes: Any) -> Trained:
    """Train; `changes` are fields of the parameters."""
    params = PARAMS.model_copy(update=changes)
    return train(passport(architecture), None, 0.01, params.phases, params, tensors(), 3, keep=keep)


if __name__ == "__main__":  # the run that tests/test_resume.py kills
    finished = run(os.environ["ARCHITECTURE"], Path(os.environ["KEEP"]))
    save_model(finished.net, str(Path(os.environ["KEEP"], "end.safetensors")))
