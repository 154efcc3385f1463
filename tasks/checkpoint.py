"""Checkpoints of a training run: numbers in safetensors, facts in JSON, nothing that can run code.

A checkpoint is two files, `<number>.safetensors` and `<number>.json`; the second is written last and holds the sha256
of the first and its own. Each is written beside its place and renamed, so a kill leaves it whole or not at all. Only
what verifies, and belongs to the same run, is read; anything else is refused by name and the one before it is used.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from tasks.digests import canonical_json, sha256_bytes, sha256_text
from tasks.whole_files import write_whole

KEPT = 2  # the newest may be torn
logger = logging.getLogger("tasks.checkpoint")
State = tuple[dict[str, torch.Tensor], dict[str, Any]]


@dataclass
class Checkpoints:
    """The checkpoints of one run in a folder of their own. `run` says what the run is made from: a digest."""

    folder: Path
    run: str

    def save(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Write the next checkpoint and remove all but the newest ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = self._numbers()[-1] + 1 if self._numbers() else 1
        content = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
        head = {"run": self.run, "tensors": sha256_bytes(content), "facts": facts}
        write_whole(self.folder / f"{number:06d}.safetensors", content)
        text = json.dumps({**head, "sha256": sha256_text(canonical_json(head))})
        write_whole(self.folder / f"{number:06d}.json", text.encode())
        for old in self._numbers()[:-KEPT]:
            (self.folder / f"{old:06d}.json").unlink()
            (self.folder / f"{old:06d}.safetensors").unlink(missing_ok=True)

    def load(self) -> State | None:
        """The newest checkpoint that is sound and belongs to this run, or None."""
        for number in reversed(self._numbers()):
            name = self.folder / f"{number:06d}.json"
            try:
                return self._read(number)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("checkpoint %s is refused: %s; the one before it is used", name, error)
        return None

    def _read(self, number: int) -> State:
        head = json.loads((self.folder / f"{number:06d}.json").read_text(encoding="utf-8"))
        if head.pop("sha256") != sha256_text(canonical_json(head)):
            raise ValueError("its facts are not what was written")
        if head["run"] != self.run:
            raise ValueError("it belongs to another run")
        content = (self.folder / f"{number:06d}.safetensors").read_bytes()
        if sha256_bytes(content) != head["tensors"]:
            raise ValueError("its tensors are not what was written")
        return load(content), head["facts"]

    def _numbers(self) -> list[int]:
        return sorted(int(file.stem) for file in self.folder.glob("*.json") if file.stem.isdigit())


def optimizer_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What an optimizer keeps of each parameter, under `optimizer/<key>/<parameter>`."""
    return {
        f"optimizer/{key}/{name}": value
        for name, parameter in net.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(net: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give an optimizer back what `optimizer_tensors` took."""
    parameters = dict(net.named_parameters())
    for place, value in below(tensors, "optimizer/").items():
        key, name = place.split("/", 1)
        parameter = parameters[name]
        # In the parameter's own memory layout, which the fused optimizer takes for granted.
        like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        optimizer.state[parameter][key] = like.to(parameter.device)


def below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
