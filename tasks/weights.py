"""A file of weights: what must hold before anything in it is used, and the network that is built from it.

A pickle runs code when it is opened, so it is told by its first bytes, whatever its name; a safetensors file holds
numbers only (https://github.com/huggingface/safetensors, section "Format").
"""

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import nn

from tasks.digests import sha256_file
from tasks.errors import BackboneRefused
from tasks.unfreezing import head_modules

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
SUFFIX = ".safetensors"


def check_weights(path: Path, sha256: str | None, owner: str, way_out: str) -> None:
    """Refuse a file that is missing, a pickle, not the recorded one, or not valid safetensors.

    `owner` begins each sentence ("backbone 'x'"); `way_out` says how to get the right file.
    """
    check_name(path.name, owner)
    if not path.is_file():
        raise BackboneRefused(f"{owner}: the weights file {path} is not there; {way_out}")
    if looks_like_pickle(path):
        raise BackboneRefused(
            f"{owner}: {path} begins like a pickle or a zip of pickles, which can run code when opened; "
            "convert it to safetensors on a machine that may be lost, or ask the publisher for safetensors"
        )
    found = sha256_file(path)
    if found != sha256:
        raise BackboneRefused(f"{owner}: {path} has sha256 {found}, the catalogue records {sha256}; {way_out}")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise BackboneRefused(f"{owner}: {path} is not a valid safetensors file ({error}); {way_out}") from error
    if not names:
        raise BackboneRefused(f"{owner}: {path} holds no tensor; {way_out}")


def check_name(name: str, owner: str) -> None:
    """Refuse a file name that promises a pickle or anything else than safetensors."""
    suffix = Path(name).suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise BackboneRefused(
            f"{owner}: '{name}' is a pickle by its name, which can run code when opened; name a {SUFFIX} file instead"
        )
    if suffix != SUFFIX:
        raise BackboneRefused(f"{owner}: '{name}' is not a {SUFFIX} file, the only format that the policy allows")


def looks_like_pickle(path: Path) -> bool:
    """Whether a file starts as a pickle of protocol 2 to 5 or as a zip archive (what `torch.save` writes).

    A safetensors header of 640 bytes also starts with 0x80 0x02, so a file that starts as safetensors is not judged
    here: the parser, which executes nothing, decides.
    """
    with path.open("rb") as file:
        head = file.read(9)
    header_bytes = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_bytes <= path.stat().st_size - 8:
        return False
    pickled = len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    return pickled or head.startswith(b"PK")


def check_architecture(architecture: str) -> None:
    """Refuse an architecture, or a tag of one, that the installed timm does not know."""
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture.split(".", maxsplit=1)[0], timm.list_models(), n=3)
        raise BackboneRefused(f"timm {timm.__version__} knows no architecture '{architecture}'; near: {near}")
    try:
        get_pretrained_cfg(architecture)
    except RuntimeError as error:
        raise BackboneRefused(f"timm {timm.__version__} knows no '{architecture}': {error}; correct the tag") from error


def create_backbone(architecture: str, weights: Path | None, num_classes: int, **options: Any) -> nn.Module:
    """A network of float32 with a fresh classifier of `num_classes` (0: none) on the verified weights, or all fresh.

    What is fresh is drawn from torch's generator: seed it first. `options` go to `timm.create_model`, for instance
    `img_size` for a transformer. Weights that do not fit are a BackboneRefused.
    """
    check_architecture(architecture)
    net: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **options)
    if weights is not None:
        load_body(net, weights)
    return net


def load_body(net: nn.Module, weights: Path) -> None:
    """Load all but the classifier, in place; half precision becomes float32."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
    # By timm's convention a model's module holds the filter for its published weights: it resamples position
    # embeddings to another image size and drops buffers that the network computes itself.
    adapt: Callable[..., Any] | None = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    state = adapt(state, net) if adapt else state
    heads = tuple(f"{module}." for module in head_modules(net))
    body = {k: v for k, v in state.items() if not k.startswith(heads)}
    needed = {k: v for k, v in net.state_dict().items() if not k.startswith(heads)}
    # The count of batches is not used when the momentum is a number, and torch fills it in.
    missing = [k for k in needed if k not in body and not k.endswith("num_batches_tracked")]
    shapes = [k for k in needed if k in body and body[k].shape != needed[k].shape]
    problems = {
        "missing": missing,
        "unexpected": [k for k in body if k not in needed],
        "of another shape": shapes,
        "not finite": [k for k, v in body.items() if not torch.isfinite(v).all()],
    }
    found = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in problems.items() if names)
    if found:
        raise BackboneRefused(
            f"the weights {weights} do not fit {type(net).__name__} as built: tensors {found}; "
            "correct the architecture or the weights of the catalogue's entry"
        )
    net.load_state_dict(body, strict=False)
