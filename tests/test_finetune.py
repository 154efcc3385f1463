"""Fine-tuning on small real components: phases, exact repetition, calibration, and what the model folder says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tasks.digests import sha256_file
from tasks.errors import DigestMismatch
from tasks.finetune import finetune, fit_temperature
from tasks.finetune_scratch import finetune_scratch
from tasks.learner import shape
from tasks.params import Augmentation, FinetuneParams, Phase, TrainerParams
from tasks.scorer import Scorer

pytestmark = pytest.mark.usefixtures("own_state")
PARAMS = FinetuneParams(
    seed=1,
    image_size=32,
    batch_size=8,
    phases=[
        Phase(open="head", epochs=2, rate=1.0),
        Phase(open=1, epochs=1, rate=0.5),
        Phase(open="all", epochs=1, rate=0.5),
    ],
    rates=[0.01],
    scratch_rates=[0.01, 0.02],
    layer_decay=0.8,
    weight_decay=0.05,
    label_smoothing=0.0,
    warmup_steps=1,
    patience=5,
    augmentation=Augmentation(turn=5, shift=0.02, scale=0.02),
    trainer=TrainerParams(accelerator="cpu", precision="32-true"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty drawn images in two classes (a dark or a light left half), their manifest, and a small backbone."""
    root = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(0)
    rows = []
    for place in range(60):
        pixels = random.integers(90, 160, (32, 32, 3), dtype=np.uint8)
        pixels[:, :16] = 30 if place % 2 else 220
        path = f"{place:02d}.png"
        Image.fromarray(pixels).save(root / path)
        split = ["train", "train", "train", "validation", "calibration", "test"][place // 2 % 6]
        label = "dark" if place % 2 else "light"
        rows.append(
            {
                "image_id": path,
                "path": path,
                "label": label,
                "split": split,
                "group": path,
                "sha256": sha256_file(root / path),
            }
        )
    (root / "split").mkdir()
    pd.DataFrame(rows).to_parquet(root / "split/manifest.parquet")
    (root / "backbone").mkdir()
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), root / "backbone/backbone.safetensors")
    passport = {"name": "tiny", "architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.5] * 3}
    (root / "backbone/passport.json").write_text(json.dumps(passport))
    (root / "backbone/NOTICE").write_text("Weights by nobody.\n")
    return root


def run(project: Path, out: Path, stage: object = finetune) -> Path:
    return stage.fn(  # type: ignore[attr-defined]
        data=project, manifest=project / "split", backbone=project / "backbone", params=PARAMS, out=out
    )


def test_training_twice_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    first, second = run(project, tmp_path / "a"), run(project, tmp_path / "b")
    for name in ("model.safetensors", "model.json", "curves.csv"):
        assert sha256_file(first / name) == sha256_file(second / name), name


def test_phases_follow_the_schedule_and_the_model_folder_says_what_was_done(project: Path, tmp_path: Path) -> None:
    out = run(project, tmp_path / "model")
    curves, facts = pd.read_csv(out / "curves.csv"), json.loads((out / "model.json").read_text())
    assert curves["open"].tolist() == ["head", "head", "1", "all"]
    assert facts["classes"] == ["dark", "light"]
    assert facts["digests"]["backbone"] == sha256_file(project / "backbone/backbone.safetensors")
    assert facts["train_images"] == 30
    assert (out / "NOTICE").read_text() == "Weights by nobody.\n"
    assert Scorer(out, "cpu").score_files([(project / "00.png").read_bytes()]).sum() == pytest.approx(1)


def test_scratch_tries_its_own_rates_at_the_same_budget_and_ignores_the_backbone(project: Path, tmp_path: Path) -> None:
    out = run(project, tmp_path / "scratch", finetune_scratch)
    curves, facts = pd.read_csv(out / "curves.csv"), json.loads((out / "model.json").read_text())
    assert curves.groupby("rate")["epoch"].max().to_dict() == {0.01: 4, 0.02: 4}
    assert facts["rate"] == curves.loc[curves["validation_loss"].idxmin(), "rate"]
    assert facts["digests"]["backbone"] == ""


def test_head_phase_leaves_the_backbone_bit_identical(project: Path, tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"phases": [Phase(open="head", epochs=2, rate=1.0)]})
    out = finetune.fn(
        data=project, manifest=project / "split", backbone=project / "backbone", params=params, out=tmp_path / "m"
    )
    before, after = load_file(project / "backbone/backbone.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(before[name].float(), after[name]) for name in before)


def test_rate_rises_over_the_warmup_and_falls_as_half_a_cosine() -> None:
    heights = [shape(step, 4, 24) for step in range(24)]
    assert heights[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert heights[14] == pytest.approx(0.02 + 0.98 * 0.5)
    assert heights == heights[:5] + sorted(heights[5:], reverse=True)


def test_temperature_undoes_a_known_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(4000, 5, generator=generator) * 2
    targets = torch.multinomial(truth.softmax(1), 1, generator=generator)[:, 0]

    class Overconfident(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.truth = torch.nn.Parameter(truth)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * self.truth[x[:, 0, 0, 0].round().long()]

    places = torch.arange(4000).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    passport = {"mean": [0.0] * 3, "std": [1 / 255] * 3}
    assert fit_temperature(Overconfident(), passport, places, targets) == pytest.approx(3, rel=0.05)


def test_image_that_changed_after_the_check_is_refused(project: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(project / "split/manifest.parquet")
    table.loc[0, "sha256"] = "0" * 64
    (tmp_path / "split").mkdir()
    table.to_parquet(tmp_path / "split/manifest.parquet")
    with pytest.raises(DigestMismatch, match=r"00\.png changed after the data check"):
        finetune.fn(
            data=project, manifest=tmp_path / "split", backbone=project / "backbone", params=PARAMS, out=tmp_path / "m"
        )
