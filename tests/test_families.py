"""Every kind of catalogue entry and every family of networks goes through one gradual run, from the entry on."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from loopback_hub import REPOSITORY, REVISION, running_hub
from safetensors.torch import save_file
from small_training import PARAMS, tensors
from test_backbones import ENTRY, POLICY

from tasks.backbones import admit, fetch_weights, input_facts, load_catalogue
from tasks.digests import sha256_file
from tasks.finetune import network_options, train
from tasks.params import Phase
from tasks.unfreezing import open_names, stage_groups
from tasks.weights import create_backbone

pytestmark = pytest.mark.usefixtures("own_state")
TODAY = dt.date(2026, 11, 23)
PHASES = [
    Phase(open="head", epochs=1, rate=1.0),
    Phase(open=1, epochs=1, rate=0.5),
    Phase(open="all", epochs=1, rate=1),
]
RUNS = [
    ("file", "test_resnet"),
    ("folder", "test_convnext"),
    ("hub", "test_vit"),
    ("hub", "mobilenetv3_small_050"),
    ("folder", "test_efficientnet"),
]


def write_entry(root: Path, kind: str, architecture: str) -> dict[str, Any]:
    """Random weights where this kind of entry keeps them, and the entry."""
    torch.manual_seed(0)
    net = timm.create_model(architecture, num_classes=0)
    file = root / {"file": f"backbones/{architecture}.safetensors", "folder": "saved/model.safetensors"}.get(
        kind, "hub"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), file)
    (file.parent / "config.json").write_text(json.dumps({"architecture": architecture}))
    weights: dict[str, Any] = {
        "file": {"file": f"backbones/{architecture}.safetensors"},
        "folder": {"folder": "saved"},
        "hub": {"hub": REPOSITORY, "revision": REVISION},
    }[kind]
    size = sum(parameter.numel() for parameter in net.parameters())
    about = {"architecture": architecture, "weights": weights, "parameters": size, "sha256": sha256_file(file)}
    return {**ENTRY, **about}


@pytest.mark.parametrize(("kind", "architecture"), RUNS)
def test_an_entry_of_each_kind_and_family_goes_through_a_gradual_run(
    kind: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = write_entry(tmp_path, kind, architecture)
    (tmp_path / "backbones.yaml").write_text(yaml.safe_dump({"policy": POLICY, "backbones": [entry]}))
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.files["model.safetensors"] = (tmp_path / "hub").read_bytes() if kind == "hub" else b""
        admitted = admit("tiny", load_catalogue(tmp_path / "backbones.yaml"), TODAY)
        weights = fetch_weights(admitted, tmp_path / "cache", tmp_path)
        assert bool(hub.seen) == (kind == "hub")
    passport = {**admitted.model_dump(mode="json"), **input_facts(admitted)}
    trained = train(passport, weights, 0.002, PHASES, PARAMS, tensors(), 3)
    assert trained.curve["phase"].tolist() == [1, 2, 3]
    assert sum("was computed once" in note for note in trained.notes) == 2  # the frozen part, in the first two phases
    start = create_backbone(architecture, weights, 3, **network_options(passport, PARAMS.image_size)).state_dict()
    moved = {name for name, tensor in trained.net.state_dict().items() if not torch.equal(tensor, start[name])}
    best = int(
        trained.curve["validation_loss"].idxmin()
    )  # the epoch whose weights are kept: what was open by then moved
    opened = open_names(trained.net, PHASES[best].open)
    assert moved <= opened
    assert all(moved & set(group) for group in stage_groups(trained.net) if opened & set(group))
