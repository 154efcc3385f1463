"""The training loop as Lightning sees it: one module, and one callback that walks through the phases.

    phase 1   the head alone learns to read what the backbone sees
    phase 2   the last stages open, at a lower rate; BatchNorm of the others stays as it was
    phase 3   all is open, each stage at its own rate, the input's the lowest

A phase ends when its epochs are over or when the validation loss has not improved for `patience` epochs; the weights
with the lowest validation loss go on to the next. What was frozen is compared bit by bit at the end of each phase.
"""

import copy
import logging
import math
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from tasks.augment import augment
from tasks.errors import KeelError
from tasks.params import Augmentation, FinetuneParams, Phase
from tasks.scorer import normalise
from tasks.unfreezing import frozen_digest, layer_rates, open_names, set_open

logger = logging.getLogger("tasks.learner")
Batch = tuple[torch.Tensor, torch.Tensor]


class FrozenMoved(KeelError):
    """A tensor that a phase holds frozen changed during it."""


class Batches(IterableDataset[Batch]):
    """Batches of (uint8 (B, 3, S, S), int64 (B,)) from tensors in memory, in a new order each epoch."""

    def __init__(self, pixels: torch.Tensor, targets: torch.Tensor, size: int, shuffle: int | None) -> None:
        self.pixels, self.targets, self.size, self.shuffle, self.epoch = pixels, targets, size, shuffle, 0

    def __len__(self) -> int:
        return math.ceil(len(self.targets) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.targets))
        if self.shuffle is not None:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(self.shuffle + self.epoch))
            self.epoch += 1
        for places in order.split(self.size):
            yield self.pixels[places], self.targets[places]

    def loader(self) -> DataLoader[Batch]:
        """A loader that passes the batches on as they are, in this process: decoding is already done."""
        return DataLoader(self, batch_size=None)


class Learner(L.LightningModule):
    """A timm network, its loss and its optimizer. `rate` is the head's learning rate at the top of a phase."""

    def __init__(self, net: nn.Module, facts: dict[str, Any], rate: float, params: FinetuneParams, seed: int) -> None:
        super().__init__()
        self.net, self.facts, self.rate, self.params = net, facts, rate, params
        self.policy: Augmentation = params.augmentation
        self.generator = torch.Generator().manual_seed(seed)
        self.losses: dict[str, list[torch.Tensor]] = {"train": [], "validation": [], "right": []}

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """The smoothed cross-entropy of one augmented batch."""
        images = augment(self._normalise(batch[0]), self.policy, self.generator)
        loss = F.cross_entropy(self.net(images), batch[1], label_smoothing=self.params.label_smoothing)
        self.losses["train"].append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """The plain cross-entropy and the hits of one batch as it was taken."""
        logits = self.net(self._normalise(batch[0]))
        self.losses["validation"].append(F.cross_entropy(logits, batch[1], reduction="none"))
        self.losses["right"].append((logits.argmax(1) == batch[1]).float())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over every parameter from the start; frozen ones have no gradient and are passed over."""
        groups = []
        for factor, parameters in layer_rates(self.net, self.params.layer_decay):
            for decayed in (True, False):  # no weight decay on biases and norms, as timm does
                chosen = [p for p in parameters if (p.ndim > 1) == decayed]
                decay = self.params.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": self.rate, "factor": factor, "weight_decay": decay})
        return torch.optim.AdamW([g for g in groups if g["params"]])

    def collect(self, name: str) -> float:
        """The mean of what the steps of this epoch reported under a name; clears it."""
        parts, self.losses[name] = self.losses[name], []
        return float(torch.cat([p.reshape(-1) for p in parts]).mean()) if parts else math.nan

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalise(pixels, self.facts["mean"], self.facts["std"])


class GradualUnfreezing(L.Callback):
    """Opens stages phase by phase, sets every group's learning rate at every step, keeps the best weights."""

    def __init__(self, phases: list[Phase], patience: int, warmup: int, steps_per_epoch: int) -> None:
        self.phases, self.patience, self.warmup, self.steps_per_epoch = phases, patience, warmup, steps_per_epoch
        self.phase, self.epoch, self.step = 0, 0, 0  # the epoch and step within the phase
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_weights: dict[str, torch.Tensor] = {}
        self.opened: set[str] = set()
        self.frozen = ""
        self.curve: list[dict[str, Any]] = []

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Begin the first phase."""
        self._begin(module)

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Put every module into the mode that its phase asks for."""
        set_open(module.net, self.opened)

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Batch, index: int) -> None:
        """rate = head rate x phase factor x stage factor x shape of the phase."""
        phase = self.phases[self.phase]
        height = module.rate * phase.rate * shape(self.step, self.warmup, phase.epochs * self.steps_per_epoch)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = height * group["factor"]
        self.step += 1

    def on_validation_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Note the epoch, keep the weights if they are the best so far, and end the phase when it is over."""
        loss, right, train = module.collect("validation"), module.collect("right"), module.collect("train")
        self.epoch += 1
        phase = self.phases[self.phase]
        self.curve.append(
            {"phase": self.phase + 1, "open": str(phase.open), "epoch": len(self.curve) + 1, "train_loss": train}
            | {"validation_loss": loss, "validation_accuracy": right}
        )
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best_weights = copy.deepcopy(module.net.state_dict())
        if self.epoch >= phase.epochs or self.epoch - self.best_epoch >= self.patience:
            self._end(trainer, module)

    def _begin(self, module: Any) -> None:
        self.opened = open_names(module.net, self.phases[self.phase].open)
        self.frozen = frozen_digest(module.net, self.opened)
        self.epoch, self.step, self.best_epoch = 0, 0, 0

    def _end(self, trainer: L.Trainer, module: Any) -> None:
        if frozen_digest(module.net, self.opened) != self.frozen:
            name = f"phase {self.phase + 1} (open: {self.phases[self.phase].open})"
            raise FrozenMoved(f"{name} changed tensors that it holds frozen; the run is stopped and nothing is kept")
        if self.best_weights:
            module.net.load_state_dict(self.best_weights)
        logger.info(
            "phase %d (open: %s) ended after %d epochs, lowest validation loss %.4f; frozen tensors are unchanged",
            *(self.phase + 1, self.phases[self.phase].open, self.epoch, self.best_loss),
        )
        self.phase += 1
        if self.phase < len(self.phases):
            self._begin(module)
        else:
            trainer.should_stop = True


def shape(step: int, warmup: int, steps: int) -> float:
    """The height of the learning rate at a step of a phase: a linear rise over `warmup` steps, then half a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
