"""Pretraining repeats byte for byte, follows its curriculum, learns, and writes weights that timm loads."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import nn

from tasks.digests import digest_of
from tasks.finetune import network_options
from tasks.formula_images import draw_figures
from tasks.params import PretrainParams, load_section
from tasks.pretrain import (
    body_of,
    draw_batch,
    fixed_randomness,
    height,
    move_average,
    parameter_groups,
    pretrain,
    strength,
    train,
)
from tasks.weights import create_backbone

TINY = {"classes": 4, "instances": 4, "image_size": 32, "small_size": 24, "steps": 4, "batch_size": 8}


@pytest.fixture(scope="module")
def params() -> PretrainParams:
    return load_section(PretrainParams, Path("params.yaml"), TINY)


@pytest.fixture(scope="module")
def out(params: PretrainParams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain.fn(params=params, out=tmp_path_factory.mktemp("pretrain") / "out")


def test_timm_loads_the_weights_strictly_and_they_are_half_precision_without_classifier(out: Path) -> None:
    weights = load_file(out / "backbone.safetensors")
    net = timm.create_model("test_resnet", num_classes=0)
    net.load_state_dict(weights, strict=True)
    assert {v.dtype for v in weights.values() if v.is_floating_point()} == {torch.float16}
    assert all(torch.isfinite(v).all() for v in weights.values())
    assert not any(name.startswith("fc.") for name in weights)


def test_the_same_seed_writes_the_same_bytes_whatever_the_caller_did_to_torch(
    params: PretrainParams, out: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        again = pretrain.fn(params=params, out=tmp_path / "again")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert digest_of(again) == digest_of(out)


def test_another_seed_writes_other_bytes(params: PretrainParams, out: Path, tmp_path: Path) -> None:
    other = pretrain.fn(params=params.model_copy(update={"seed": 4}), out=tmp_path / "other")
    assert digest_of(other / "backbone.safetensors") != digest_of(out / "backbone.safetensors")


def test_facts_hold_the_recipe_and_the_results_and_nothing_of_the_machine(params: PretrainParams, out: Path) -> None:
    facts = json.loads((out / "pretrain.json").read_text())
    assert set(facts) == {"recipe", "seed", "classes", "images_seen", "final_loss", "final_accuracy"}
    assert PretrainParams.model_validate(facts["recipe"]) == params
    assert facts["images_seen"] == 4 * 8


def test_training_learns_plain_figures(params: PretrainParams) -> None:
    easy = params.model_copy(update={"steps": 60, "ramp_start": 0.98, "ramp_end": 1.0, "warmup_steps": 5})
    with fixed_randomness(1, 1):
        net = timm.create_model("test_resnet", num_classes=4)
        figures = torch.from_numpy(draw_figures(4, 4, 32, 1))
        _, results = train(net, figures, easy)
    assert results["final_accuracy"] > 0.6  # chance is 0.25, and the mean is over all 60 steps


def test_curriculum_is_zero_then_linear_then_one(params: PretrainParams) -> None:
    long = params.model_copy(update={"steps": 1000, "ramp_start": 0.1, "ramp_end": 0.5})
    assert [strength(step, long) for step in (0, 100, 300, 500, 999)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_pictures_are_small_first_and_large_later(params: PretrainParams) -> None:
    figures, generator = torch.from_numpy(draw_figures(4, 4, 32, 1)), torch.Generator().manual_seed(1)
    first, labels = draw_batch(figures, 0, params, generator)
    last, _ = draw_batch(figures, params.steps - 1, params, generator)
    assert first.shape == (8, 3, 24, 24)
    assert last.shape == (8, 3, 32, 32)
    assert labels.shape == (8,)
    assert 0 <= labels.min() <= labels.max() < 4


def test_rate_rises_then_falls_to_nothing() -> None:
    assert [height(step, 4, 12) for step in (0, 3, 4, 8)] == pytest.approx([0.25, 1, 1, 0.5])
    assert height(11, 4, 12) < 0.04


def test_norms_and_biases_do_not_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    kernels, others = parameter_groups(net, 0.05)
    assert [len(kernels["params"]), len(others["params"])] == [1, 3]
    assert [kernels["weight_decay"], others["weight_decay"]] == [0.05, 0]


def test_average_keeps_its_share_and_copies_counters() -> None:
    net = nn.BatchNorm2d(1)
    average = {k: torch.zeros_like(v) for k, v in net.state_dict().items()}
    net.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    move_average(average, net, 0.75)
    assert average["weight"].item() == pytest.approx(0.25)  # 0.75 x 0 + 0.25 x 1
    assert average["num_batches_tracked"].item() == 7


def test_body_leaves_out_the_classifier_alone(params: PretrainParams) -> None:
    net = timm.create_model("test_resnet", num_classes=4)
    body = body_of(net.state_dict(), params)
    assert set(net.state_dict()) - set(body) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("section", ["pretrain_convnext", "pretrain_vit"])
def test_other_architectures_are_pretrained_by_sections_of_their_own_and_load_as_the_catalogue_builds_them(
    section: str, tmp_path: Path
) -> None:
    recipe = load_section(PretrainParams, Path("params.yaml"), {**TINY, "small_size": 32}, section)
    out = pretrain.fn(params=recipe, out=tmp_path / "out")
    facts = json.loads((out / "pretrain.json").read_text())
    assert PretrainParams.model_validate(facts["recipe"]) == recipe
    options = network_options(input_facts_of(recipe.architecture), 32)
    net = create_backbone(recipe.architecture, out / "backbone.safetensors", 0, **options)
    weights = load_file(out / "backbone.safetensors")
    assert all(torch.equal(net.state_dict()[name], tensor.float()) for name, tensor in weights.items())


def input_facts_of(architecture: str) -> dict[str, bool]:
    cfg = get_pretrained_cfg(architecture)
    assert cfg is not None
    return {"fixed_input_size": cfg.fixed_input_size}


def test_the_recipes_of_the_bundled_backbones_are_those_in_params_yaml() -> None:
    for section, name in (
        ("pretrain", "test_resnet"),
        ("pretrain_convnext", "test_convnext"),
        ("pretrain_vit", "test_vit"),
    ):
        facts = json.loads((Path("backbones") / name / "pretrain.json").read_text())
        assert PretrainParams.model_validate(facts["recipe"]) == load_section(
            PretrainParams, Path("params.yaml"), section=section
        )
