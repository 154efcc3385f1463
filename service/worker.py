"""What a worker process does: it holds models and answers batches of images, each with the model that it names.

LitServe starts the workers and places them on devices; messages come over a wire (service/wires.py). A model is loaded
beside the answering, so that a move of the champion costs no request its time; a batch finds its model loaded, or waits
for it.
"""

import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass

import litserve
import numpy as np
import torch

from service.messages import Answers, Batch, Failed, Kept, Prepared
from service.orphans import end_with_parent
from tasks.digests import identity
from tasks.errors import DigestMismatch
from tasks.frozen import FrozenScorer
from tasks.guard import Guard

MODELS = 3  # that a worker holds: champion, challenger, and the one that was champion a moment ago


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its guard, in memory."""

    scorer: FrozenScorer
    guard: Guard

    @classmethod
    def load(cls, kept: Kept, device: str | None = None) -> "Loaded":
        """From disk; DigestMismatch when the files are not the ones that were checked."""
        if identity(kept.model) != kept.digest:
            raise DigestMismatch(f"{kept.model} is not the model {kept.digest}; remove the folder, it is fetched again")
        return cls(FrozenScorer(kept.model, device), Guard.load(kept.guard))

    def answer(self, pixels: np.ndarray) -> Answers:
        """One forward pass, and what the guard thinks."""
        return Answers(*self.guard.ask(pixels, self.scorer.answer))


def load_aside(kept: Kept) -> Loaded:
    """For the process off the path: on one thread of the processor."""
    torch.set_num_threads(1)
    return Loaded.load(kept, "cpu")


class Worker(litserve.LitAPI):
    """Answers batches; one in each worker process."""

    def setup(self, device: str) -> None:
        """Begin with no model; the first batch or the first preparation names one."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which drains before it ends its workers
        end_with_parent()
        self.on = device
        if device == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        self.models: dict[str, Loaded] = {}
        self.used: dict[str, float] = {}  # when each was asked last
        self.troubles: dict[str, str] = {}
        self.loading = threading.Lock()

    def predict(self, x: Batch) -> Answers | Prepared | Failed:
        """The answers, or how far the model is loaded."""
        try:
            return self._prepare(x.kept) if x.pixels is None else self._loaded(x.kept).answer(x.pixels)
        except torch.AcceleratorError:  # no later call on this device would succeed
            traceback.print_exc()
            os._exit(1)
        except Exception as error:  # whatever a model raises is its answer: the worker goes on
            return Failed(f"{type(error).__name__}: {error}"[:300])

    def _prepare(self, kept: Kept) -> Prepared:
        if kept.digest in self.models:
            self.used[kept.digest] = time.monotonic()
            return Prepared(os.getpid(), "ready")
        if kept.digest in self.troubles:
            return Prepared(os.getpid(), self.troubles.pop(kept.digest))
        if not self.loading.locked():
            threading.Thread(target=self._load_aside, args=(kept,), daemon=True).start()
        return Prepared(os.getpid(), "loading")

    def _load_aside(self, kept: Kept) -> None:
        try:
            self._loaded(kept)
        except Exception as error:
            self.troubles[kept.digest] = f"{type(error).__name__}: {error}"[:300]

    def _loaded(self, kept: Kept) -> Loaded:
        self.used[kept.digest] = time.monotonic()
        found = self.models.get(kept.digest)
        if found is None:
            with self.loading:
                found = self.models.get(kept.digest) or Loaded.load(kept, self.on)
                self.models[kept.digest] = found
                for digest in sorted(self.models, key=lambda one: self.used[one])[:-MODELS]:
                    del self.models[digest]
        return found
