"""Two processes give the result of one."""

import json
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import BadInput
from tasks.finetune import finetune
from tasks.params import FinetuneParams, Phase
from tests.small_training import PARAMS, passport
from tests.test_finetune import project as drawn_project

pytestmark = pytest.mark.usefixtures("own_state")
project = drawn_project
PHASES = [
    Phase(open="head", epochs=1, rate=1.0),
    Phase(open=1, epochs=1, rate=0.5),
    Phase(open="all", epochs=1, rate=0.3),
]


def stage(project: Path, out: Path, **trainer: object) -> Path:
    values = {**PARAMS.trainer.model_dump(), **trainer}
    params = FinetuneParams.model_validate({**PARAMS.model_dump(), "phases": PHASES, "trainer": values})
    return finetune.fn(data=project, manifest=project / "split", backbone=project / "convnext", params=params, out=out)


@pytest.fixture
def convnext(project: Path) -> Path:
    """The drawn project with a network that normalises each image by itself."""
    (project / "convnext").mkdir(exist_ok=True)
    torch.manual_seed(5)
    weights = timm.create_model("test_convnext", num_classes=0).state_dict()
    save_file(weights, project / "convnext/backbone.safetensors")
    facts = {**passport("test_convnext"), "name": "drawn"}
    (project / "convnext/passport.json").write_text(json.dumps(facts))
    (project / "convnext/NOTICE").write_text("Weights by nobody.\n")
    return project


def test_two_processes_give_the_result_of_one_at_the_same_total_batch(convnext: Path, tmp_path: Path) -> None:
    # Fails when processes see the same images, when gradients are not averaged, or when the loss is not weighted.
    one, two = stage(convnext, tmp_path / "one"), stage(convnext, tmp_path / "two", devices=2)
    curves = [pd.read_csv(folder / "curves.csv") for folder in (one, two)]
    figures = ["validation_loss", "validation_accuracy"]
    pd.testing.assert_frame_equal(curves[0][figures], curves[1][figures], atol=1e-3)
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert all(torch.allclose(first[name], second[name], atol=2e-3) for name in first)


def test_failure_of_a_process_is_one_sentence_with_the_way_out(convnext: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"training in 2 processes .* failed: .*nonsense.*; set devices: 1"):
        stage(convnext, tmp_path / "out", devices=2, strategy="nonsense")
