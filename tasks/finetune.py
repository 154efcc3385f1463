"""Fine-tune the chosen backbone by gradual unfreezing, or train the same network from scratch at the same budget.

Either way every learning rate of a grid is tried in full, and the one with the lowest validation loss is the model:
a scratch baseline with somebody else's learning rate would make any transfer look good. The temperature that
calibrates the probabilities (Guo et al. 2017, section 4.2) is fitted on the calibration split.
"""

import json
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from safetensors.torch import save_file
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F

from tasks.batches import Epochs
from tasks.checkpoint import Checkpoints
from tasks.digests import (
    canonical_json,
    digest_of_code,
    digest_of_environment,
    sha256_bytes,
    sha256_file,
    sha256_text,
)
from tasks.learner import GradualUnfreezing, Learner
from tasks.pace import Pace, choose_pace
from tasks.params import FinetuneParams, Phase
from tasks.pixels import load_pixels
from tasks.processes import is_launched, launch, rank
from tasks.scorer import FACTS, WEIGHTS, outputs_of, standardise
from tasks.settings import settings
from tasks.stage import CHECKPOINTS, stage
from tasks.weights import create_backbone

NOTICE = "NOTICE"
logger = logging.getLogger("tasks.finetune")
Tensors = dict[str, tuple[torch.Tensor, torch.Tensor]]  # split -> uint8 images (N, 3, S, S), int64 targets (N,)


@dataclass(frozen=True)
class Trained:
    """One full run at one learning rate: the network with its best weights (on the CPU, in eval), and how it went.

    `curve` has a row an epoch: phase, open, epoch, train_loss, validation_loss, validation_accuracy, rate.
    """

    net: nn.Module
    rate: float
    loss: float  # the lowest validation loss
    curve: pd.DataFrame
    pace: Pace  # the number format and memory layout that it ran in
    notes: list[str]  # what was chosen and done about precision, storing and opening, in sentences
    seconds: float  # of the training alone


@stage
def finetune(data: Path, manifest: Path, backbone: Path, params: FinetuneParams, out: Path) -> None:
    """Write the fine-tuned model: model.safetensors, model.json, curves.csv, and the backbone's NOTICE."""
    train_model(data, manifest, backbone, backbone / "backbone.safetensors", params, out)


def train_model(
    data: Path, manifest: Path, backbone: Path, weights: Path | None, params: FinetuneParams, out: Path
) -> None:
    """Train once for every rate of the grid and write the best; `weights` None means from scratch."""
    if params.trainer.devices > 1 and not is_launched():
        files = {"data": data, "manifest": manifest, "backbone": backbone, "weights": weights, "out": out}
        paths = {name: str(path.absolute()) if path else None for name, path in files.items()}
        launch(params.trainer.devices, {**paths, "params": params.model_dump(mode="json")}, out)
        return
    table, keep = pd.read_parquet(manifest / "manifest.parquet"), out / CHECKPOINTS
    passport = json.loads((backbone / "passport.json").read_text(encoding="utf-8"))
    classes = sorted(table["label"].unique())
    tensors = load_tensors(data, table, classes, params.image_size, params.trainer.memory_mb)
    phases = params.phases if weights else [Phase(open="all", epochs=sum(p.epochs for p in params.phases), rate=1)]
    groups = table.loc[table["split"] == "validation", "group"].tolist()
    runs = [
        train(passport, weights, rate, phases, params, tensors, len(classes), groups, keep / f"rate-{rate:g}")
        for rate in (params.rates if weights else params.scratch_rates)
    ]
    if rank():
        return  # the first process writes for all
    best = min(runs, key=lambda run: run.loss)
    facts = {
        "architecture": passport["architecture"],
        "backbone": passport["name"] if weights else "none: random weights",
        "options": network_options(passport, params.image_size),
        "classes": classes,
        "image_size": params.image_size,
        "mean": passport["mean"],
        "std": passport["std"],
        "rate": best.rate,
        "validation_loss": best.loss,
        "temperature": fit_temperature(best.net, passport, *tensors["calibration"]),
        "seed": params.seed,
        "training": best.notes,
        "train_images": len(tensors["train"][1]),
        "digests": {
            "manifest": sha256_file(manifest / "manifest.parquet"),
            "backbone": sha256_file(weights) if weights else "",
            "code": digest_of_code("finetune"),
            "environment": digest_of_environment(),
        },
    }
    save_file({k: v.contiguous() for k, v in best.net.state_dict().items()}, out / WEIGHTS)
    if weights:
        shutil.copyfile(backbone / NOTICE, out / NOTICE)  # attributions travel with what was made from them
    (out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    pd.concat([run.curve for run in runs]).to_csv(out / "curves.csv", index=False, lineterminator="\n")
    logger.info("chose learning rate %g of %s by validation loss", best.rate, [run.rate for run in runs])


def load_tensors(data: Path, table: pd.DataFrame, classes: list[str], size: int, memory_mb: int = 2048) -> Tensors:
    """Images and targets of the splits that training may see."""
    tensors = {}
    for split in ("train", "validation", "calibration"):
        part = table[table["split"] == split]
        tensors[split] = (load_pixels(data, part, size, memory_mb), targets_of(part, classes))
    return tensors


def targets_of(rows: pd.DataFrame, classes: list[str]) -> torch.Tensor:
    """The class numbers of the rows (column label), int64 (N,)."""
    return torch.tensor([classes.index(label) for label in rows["label"]], dtype=torch.int64)


def train(
    passport: dict[str, Any],
    weights: Path | None,
    rate: float,
    phases: list[Phase],
    params: FinetuneParams,
    tensors: Tensors,
    count: int,
    groups: Sequence[Any] | None = None,
    keep: Path | None = None,
) -> Trained:
    """Train a network of `count` classes at one learning rate; `weights` None means from random weights.

    `groups` names the group (subject) of each validation image, for the test that ends the unfreezing. In the folder
    `keep` checkpoints are kept, from which the same call goes on after a kill; what is there for another call is
    refused. The result depends on the arguments alone, and not on kills in between.
    """
    logger.info("training %s at rate %g", "from the backbone" if weights else "from scratch", rate)
    options = network_options(passport, params.image_size)
    if params.drop_path:
        options["drop_path_rate"] = params.drop_path
    with seeded(params.seed), tempfile.TemporaryDirectory(prefix="keel-") as spare:
        net = create_backbone(passport["architecture"], weights, count, **options)
        pace = pace_of(net, params)
        torch.set_num_threads(pace.threads)
        about = [rate, phases, params, pace, count]
        checkpoints = Checkpoints(keep, run_digest(passport, weights, about, tensors)) if keep else None
        epochs = Epochs(
            *tensors["train"],
            params.batch_size,
            params.seed,
            params.augmentation,
            lambda images: pace.lay_out(standardise(images, passport["mean"], passport["std"])),
        )
        groups = list(range(len(tensors["validation"][1]))) if groups is None else list(groups)
        unfreezing = GradualUnfreezing(phases, epochs, tensors["validation"], groups, params, checkpoints, Path(spare))
        trainer = L.Trainer(
            max_epochs=sum(p.epochs for p in phases),
            accelerator=params.trainer.accelerator,
            devices=params.trainer.devices if is_launched() else 1,
            strategy=strategy_of(params),
            sync_batchnorm=is_launched() and torch.cuda.is_available(),
            use_distributed_sampler=False,  # our batches share themselves out
            precision=pace.precision,  # type: ignore[arg-type]
            callbacks=[unfreezing, Progress()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        started = time.perf_counter()
        trainer.fit(Learner(net.to(memory_format=pace.memory_format), rate, params), epochs.loader())
    notes = [f"trained in {pace}"]
    curve = pd.DataFrame(unfreezing.curve).assign(rate=rate)
    seconds = time.perf_counter() - started
    return Trained(net.cpu().eval(), rate, unfreezing.best_loss, curve, pace, notes + unfreezing.notes, seconds)


def strategy_of(params: FinetuneParams) -> str:
    """Lightning's strategy: with several processes one that allows for frozen parameters, unless another is asked."""
    if params.trainer.strategy == "auto" and is_launched():
        return "ddp_find_unused_parameters_true"
    return params.trainer.strategy


def pace_of(net: nn.Module, params: FinetuneParams) -> Pace:
    """How to run the network on this machine, as it was timed once; with one process a device."""
    gpu = params.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    size = (params.batch_size, 3, params.image_size, params.image_size)
    state = settings().state
    state.mkdir(parents=True, exist_ok=True)
    return choose_pace(net.to(device), size, device, params.trainer, state / "pace.json")


def run_digest(passport: dict[str, Any], weights: Path | None, about: list[Any], tensors: Tensors) -> str:
    """What a training run is made from, to the last bit: a checkpoint of any other run is refused."""
    images = [sha256_bytes(t.numpy().data) for split in ("train", "validation") for t in tensors[split]]
    start = [passport["architecture"], passport["mean"], passport["std"], sha256_file(weights) if weights else None]
    code = [digest_of_code("finetune"), digest_of_environment()]
    return sha256_text(canonical_json([start, repr(about), images, code]))


def network_options(passport: dict[str, Any], size: int) -> dict[str, Any]:
    """What the network must be told about the image size; only those with position embeddings need it."""
    return {"img_size": size} if passport.get("fixed_input_size") else {}


class Progress(L.Callback):
    """A line every few epochs."""

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say where the run stands, about eight times a run."""
        every = max(1, (trainer.max_epochs or 8) // 8)
        if (trainer.current_epoch + 1) % every == 0:
            curve = next(c.curve for c in trainer.callbacks if isinstance(c, GradualUnfreezing))  # type: ignore[attr-defined]
            last = curve[-1] if curve else {}
            logger.info(
                "epoch %d of %s: validation loss %.4f, accuracy %.3f",
                *(trainer.current_epoch + 1, trainer.max_epochs),
                *(last.get("validation_loss", float("nan")), last.get("validation_accuracy", float("nan"))),
                extra={"detail": True},
            )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything random inside depends on `seed` alone, and sums are not split over threads, whatever the machine.

    The caller's generators and threads are put back. Lightning is quiet.
    """
    chatty = logging.getLogger("lightning.pytorch")
    level, count = chatty.level, torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chatty.setLevel(logging.WARNING)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            chatty.setLevel(level)
            torch.set_num_threads(count)


def fit_temperature(net: nn.Module, passport: dict[str, Any], pixels: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature, from 0.05 to 20, at which the calibration split's negative log-likelihood is lowest."""
    logits = outputs_of(net, pixels, passport["mean"], passport["std"]).double()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / torch.tensor(log_temperature).exp(), targets))

    found = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-4})
    return float(torch.tensor(found.x).exp())
