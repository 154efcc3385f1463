"""The training loop as Lightning sees it: one module, and one callback that walks through the phases.

    phase 1   the head alone learns to read what the backbone sees; the backbone is asked once an image
    phase 2   the last stages open, at a lower rate; BatchNorm of the others stays as it was
    phase 3   all is open, each stage at its own rate, the input's the lowest

A phase ends when its epochs are over or when the validation loss has not improved for `patience` epochs; the weights
with the lowest validation loss go on to the next. Where the plan of the phases says so, the next stages open only after
a phase that brought a significant gain on validation. What is frozen is compared bit by bit after every epoch.

The state of a run is the weights, the optimizer's and the average's numbers, and where in the schedule it stands:
everything random follows from the seed and that place. A checkpoint holds just these, so a killed run ends with the
very bits of one that was not.
"""

import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

from tasks.batches import Batch, Epochs, Place, mix
from tasks.boundary import Shortcut
from tasks.checkpoint import Checkpoints, below, load_optimizer, optimizer_tensors
from tasks.openings import gain_of_opening
from tasks.params import FinetuneParams, Phase
from tasks.regularisers import MovingAverage, StartingPoint, mixed
from tasks.stored_work import CHUNK, StoredWork, store_work
from tasks.unfreezing import check_frozen, frozen_tensors, layer_rates, open_names, set_open, stage_groups

FIGURES = ("train_loss", "validation_loss", "validation_accuracy")  # of each row of the curve
logger = logging.getLogger("tasks.learner")


class Learner(L.LightningModule):
    """A timm network, its loss and its optimizer. `rate` is the head's learning rate at the top of a phase.

    `shortcut` is there while a phase runs from stored activations; batches are then activations, else images.
    """

    def __init__(self, net: nn.Module, rate: float, params: FinetuneParams) -> None:
        super().__init__()
        self.net, self.rate, self.params = net, rate, params
        self.classes = int(net.num_classes)  # type: ignore[arg-type]
        self.shortcut: Shortcut | None = None
        head = set(stage_groups(net)[-1])
        self.start = StartingPoint(net, head, params.l2_sp) if params.l2_sp else None
        self.average = MovingAverage(net, params.ema) if params.ema else None
        self.train_losses: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S), or stored activations, -> logits (B, K)."""
        answer: torch.Tensor = self.shortcut(inputs) if self.shortcut else self.net(inputs)
        return answer.float()

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """The smoothed cross-entropy of one batch, mixed and pulled to the start where the parameters say so."""
        inputs, targets, count = batch
        smoothing = self.params.label_smoothing
        if self.params.mixup or self.params.cutmix:
            inputs, targets = mixed(inputs, targets, self.classes, self.params.mixup, self.params.cutmix)
        loss = F.cross_entropy(self(inputs), targets, label_smoothing=smoothing)
        self.train_losses.append(loss.detach().cpu())
        if self.start:
            loss = loss + self.start.penalty(self.net)
        # Processes average their gradients; their shares of the last batch can differ by one image.
        return loss * (len(inputs) * self.trainer.world_size / count)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over every parameter from the start; frozen ones have no gradient and are passed over."""
        groups = []
        for factor, parameters in layer_rates(self.net, self.params.layer_decay):
            for decayed in (True, False):  # no weight decay on biases and norms, as timm does
                chosen = [p for p in parameters if (p.ndim > 1) == decayed]
                decay = self.params.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": self.rate, "factor": factor, "weight_decay": decay})
        return torch.optim.AdamW([g for g in groups if g["params"]], fused=True)


class GradualUnfreezing(L.Callback):
    """Opens stages phase by phase, sets every group's learning rate at every step, keeps the best weights."""

    def __init__(
        self,
        phases: list[Phase],
        epochs: Epochs,
        validation: tuple[torch.Tensor, torch.Tensor],
        groups: list[Any],
        params: FinetuneParams,
        checkpoints: Checkpoints | None = None,
        spare: Path | None = None,
    ) -> None:
        self.phases, self.epochs, self.params = phases, epochs, params
        self.images, self.targets = validation  # uint8 (N, 3, S, S) and int64 (N,)
        self.groups, self.checkpoints, self.spare = groups, checkpoints, spare
        self.step = 0  # within the phase
        self.best_loss, self.best_epoch = math.inf, 0  # of all phases; the epoch within this one
        self.best_weights: dict[str, torch.Tensor] = {}
        self.best_losses = torch.empty(0)  # of each validation image under the best weights, (N,)
        self.losses_before = torch.empty(0)  # the same when the phase began
        self.opened: set[str] = set()
        self.frozen: dict[str, str] = {}
        self.curve: list[dict[str, Any]] = []
        self.notes: list[str] = []  # what was done about storing and opening, in sentences
        self.finished = False
        self.work: StoredWork | None = None
        self.saved_at = time.monotonic()

    @property
    def place(self) -> Place:
        """Where in the schedule the run stands; the batches follow it."""
        return self.epochs.place

    @property
    def phase(self) -> Phase:
        """The phase that runs."""
        return self.phases[self.place.phase]

    @property
    def name(self) -> str:
        """What messages call the phase."""
        return f"phase {self.place.phase + 1} (open: {self.phase.open})"

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Begin the first phase, or go on where a killed run stood."""
        self.epochs.rank, self.epochs.world = trainer.global_rank, trainer.world_size
        state = self.checkpoints.load() if self.checkpoints else None
        if state:
            self._restore(trainer, module, *state)
        else:
            self._begin(trainer, module)

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Put every module into the mode that its phase asks for."""
        set_open(module.net, self.opened)

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Batch, index: int) -> None:
        """rate = head rate x phase factor x stage factor x shape of the phase; whatever is random follows the place."""
        steps = self.phase.epochs * len(self.epochs)
        height = module.rate * self.phase.rate * shape(self.step, self.params.warmup_steps, steps)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = height * group["factor"]
        place = self.place
        seed = mix(self.params.seed, place.phase, place.epoch, place.batch, trainer.global_rank)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed costs a millisecond, and memory, where no GPU is
        if module.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        """Count the step and, when it is time, keep a checkpoint."""
        self.step += 1
        self.place.batch += 1
        if module.average:
            module.average.update(module.net)
        if self.place.batch < len(self.epochs):  # the epoch's end has a checkpoint of its own
            self._save(trainer, module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Validate, note the epoch, keep the weights if they are the best so far, end the phase when it is over."""
        check_frozen(module.net, self.opened, self.frozen, self.name)
        if trainer.world_size > 1:
            self._agree(module)
        with module.average.applied(module.net) if module.average else nullcontext():
            losses, hits = self.validate(trainer, module)
            loss = float(losses.double().mean())
            if loss < self.best_loss:
                self.best_loss, self.best_epoch, self.best_losses = loss, self.place.epoch + 1, losses
                self.best_weights = _copy(module.net.state_dict())
        row = {"phase": self.place.phase + 1, "open": str(self.phase.open), "epoch": len(self.curve) + 1}
        train = float(torch.stack(module.train_losses).double().mean()) if module.train_losses else math.nan
        self.curve.append(row | {"train_loss": train, "validation_loss": loss, "validation_accuracy": hits})
        module.train_losses = []
        self.place.epoch, self.place.batch = self.place.epoch + 1, 0
        if self.place.epoch >= self.phase.epochs or self.place.epoch - self.best_epoch >= self.params.patience:
            self._end(trainer, module)
        self._save(trainer, module, at_once=self.finished)

    def _agree(self, module: Any) -> None:
        """Average the running statistics that each process gathered on its own, so that all judge the same network."""
        for name, buffer in module.net.named_buffers():
            if name in self.opened and buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer.div_(torch.distributed.get_world_size())

    def validate(self, trainer: L.Trainer, module: Any) -> tuple[torch.Tensor, float]:
        """The plain cross-entropy of each validation image (N,) and the share of hits, from the network as it is."""
        module.net.eval()
        answers = []
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for places in torch.arange(len(self.targets)).split(CHUNK):
                inputs = self._validation_inputs(places)
                answers.append(module(inputs.to(module.device)).cpu())
        logits = torch.cat(answers)
        set_open(module.net, self.opened)
        hits = (logits.argmax(1) == self.targets).float().mean()
        return F.cross_entropy(logits, self.targets, reduction="none"), float(hits)

    def _validation_inputs(self, places: torch.Tensor) -> torch.Tensor:
        if self.work:
            return self.work.validation.take(torch.zeros_like(places), places)
        return self.epochs.as_taken(self.images[places])

    def _begin(self, trainer: L.Trainer, module: Any) -> None:
        """Open what the phase opens, with a fresh optimizer, and store what stays frozen."""
        self.step, self.best_epoch = 0, 0
        self.losses_before = self.best_losses
        trainer.optimizers[0].state.clear()
        if module.average:
            module.average.restart(module.net)
        self._open(trainer, module)

    def _open(self, trainer: L.Trainer, module: Any) -> None:
        self.opened = open_names(module.net, self.phase.open)
        self.frozen = frozen_tensors(module.net, self.opened)
        set_open(module.net, self.opened)
        self._store(trainer, module)

    def _store(self, trainer: L.Trainer, module: Any) -> None:
        """Compute what the frozen part says of each image, unless nothing is frozen or it may not be stored."""
        asked = self.params.trainer
        views = min(asked.views, math.ceil(self.phase.epochs / 2))  # each serves two epochs or more
        if not self.frozen or not views or self.params.mixup or self.params.cutmix:
            return
        assert self.spare is not None
        file = self.spare / f"activations-{self.place.phase}.mapped"
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            self.work = store_work(module.net, self.opened, self.epochs, self.images, views, asked.memory_mb, file)
        if self.work:
            self.epochs.stored, module.shortcut = self.work.train, self.work.shortcut
            module.shortcut.install()
            self._say(f"{self.name}: {self.work.how}")

    def _forget(self, module: Any) -> None:
        """Let the whole network run again."""
        if module.shortcut:
            module.shortcut.remove()
        module.shortcut, self.epochs.stored, self.work = None, None, None

    def _end(self, trainer: L.Trainer, module: Any) -> None:
        """Go on with the best weights: to the next phase when there is one that may open, else to the end."""
        self._forget(module)
        if self.best_weights:
            module.net.load_state_dict(self.best_weights)
        number = self.place.phase + 1
        logger.info(
            "%s ended after %d epochs, lowest validation loss %.4f; frozen tensors are unchanged",
            *(self.name, self.place.epoch, self.best_loss),
        )
        if self._brought_too_little() or number == len(self.phases):
            self.finished = trainer.should_stop = True
        else:
            self.place.phase, self.place.epoch, self.place.batch = number, 0, 0
            self._begin(trainer, module)

    def _brought_too_little(self) -> bool:
        """Whether the phase, other than the first, brought too little for the next one to open."""
        if self.place.phase == 0 or not self.params.stop_level:
            return False
        opening = gain_of_opening(self.losses_before, self.best_losses, self.groups, self.params.stop_level)
        deeper = self.place.phase + 1 < len(self.phases)
        self._say(f"{self.name} {opening.sentence(deeper)}")
        return not opening.significant

    def _say(self, sentence: str) -> None:
        self.notes.append(sentence)
        logger.info("%s", sentence)

    def _save(self, trainer: L.Trainer, module: Any, at_once: bool = False) -> None:
        """Keep a checkpoint when the last one is old enough; one process writes for all."""
        due = time.monotonic() - self.saved_at >= self.params.trainer.checkpoint_seconds
        if self.checkpoints is None or trainer.global_rank or not (due or at_once):
            return
        tensors = {f"net/{k}": v for k, v in module.net.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best_weights.items()}
        tensors |= {"best_losses": self.best_losses, "losses_before": self.losses_before}
        tensors |= {"best_loss": torch.tensor(self.best_loss, dtype=torch.float64)}
        tensors |= {"train_losses": torch.stack(module.train_losses) if module.train_losses else torch.empty(0)}
        figures = [[row[key] for key in FIGURES] for row in self.curve]
        tensors |= {"curve": torch.tensor(figures, dtype=torch.float64).reshape(-1, len(FIGURES))}
        tensors |= optimizer_tensors(module.net, trainer.optimizers[0])
        if module.average:
            tensors |= {f"average/{k}": v for k, v in module.average.average.items()}
        facts = {
            "place": [self.place.phase, self.place.epoch, self.place.batch],
            "step": self.step,
            "best_epoch": self.best_epoch,
            "curve": [[row["phase"], row["open"], row["epoch"]] for row in self.curve],
            "notes": self.notes,
            "average_steps": module.average.steps if module.average else 0,
            "finished": self.finished,
        }
        self.checkpoints.save(tensors, facts)
        self.saved_at = time.monotonic()

    def _restore(
        self, trainer: L.Trainer, module: Any, tensors: dict[str, torch.Tensor], facts: dict[str, Any]
    ) -> None:
        """Stand where the checkpoint was written."""
        module.net.load_state_dict(below(tensors, "net/"))
        self.best_weights = below(tensors, "best/")
        self.best_losses, self.losses_before = tensors["best_losses"], tensors["losses_before"]
        self.best_loss, self.best_epoch = float(tensors["best_loss"]), facts["best_epoch"]
        module.train_losses = list(tensors["train_losses"])
        self.curve = [
            {"phase": phase, "open": open_, "epoch": epoch} | dict(zip(FIGURES, figures, strict=True))
            for (phase, open_, epoch), figures in zip(facts["curve"], tensors["curve"].tolist(), strict=True)
        ]
        load_optimizer(module.net, trainer.optimizers[0], tensors)
        if module.average:
            module.average.average, module.average.steps = below(tensors, "average/"), facts["average_steps"]
        self.place.phase, self.place.epoch, self.place.batch = facts["place"]
        self.step, self.finished = facts["step"], facts["finished"]
        if self.finished:
            trainer.should_stop = True
        else:
            logger.info("going on at phase %d, epoch %d, batch %d of a run that was ended", *facts["place"])
            self._open(trainer, module)
        self.notes = facts["notes"]


def shape(step: int, warmup: int, steps: int) -> float:
    """The height of the learning rate at a step of a phase: a linear rise over `warmup` steps, then half a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
