"""The generic door maps name=value onto a stage's signature and says what it expected when a name is wrong."""

from pathlib import Path

import pytest

from tasks.__main__ import call
from tasks.errors import BadInput
from tasks.params import EvaluateParams, SplitParams, load_section


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "there is no stage ''"),
        (["dance"], "there is no stage 'dance'"),
        (["gate"], "there is no stage 'gate'"),
        (["predict", "modle=x", "out=y"], r"unknown: \['modle'\], missing: \['data', 'manifest', 'model'\]"),
        (["predict", "data=no", "manifest=no", "model=no", "out=no"], "predict needs data=no, which is not there"),
    ],
)
def test_wrong_words_are_named(words: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        call(words)


def test_stage_is_called_with_values_of_the_right_type(tmp_path: Path) -> None:
    assert call(["make_sample", f"out={tmp_path / 'data'}"]) == tmp_path / "data"
    assert (tmp_path / "data/metadata.csv").is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("split: {train: 2}", "split: train: Input should be less than 1"),
        ("split: {trian: 0.5}", "trian: Extra inputs are not permitted.*the keys are train, validation"),
        ("split: [", "is not valid YAML"),
    ],
)
def test_wrong_parameters_are_named_with_their_file(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInput, match=sentence) as caught:
        load_section(SplitParams, tmp_path / "params.yaml")
    assert "params.yaml" in str(caught.value)


def test_overrides_lie_over_the_file() -> None:
    assert load_section(EvaluateParams, Path("params.yaml"), {"seed": 99}).seed == 99


def test_another_section_of_the_same_form_is_named_after_a_colon(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("pretrain_other: {classes: 2}")
    with pytest.raises(BadInput, match="section pretrain_other: architecture: Field required"):
        call(["pretrain", f"params={tmp_path / 'params.yaml'}:pretrain_other", f"out={tmp_path / 'out'}"])
