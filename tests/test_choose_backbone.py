"""Choosing a backbone: what the stage writes, and when it refuses."""

import json
from datetime import date

import pytest
from test_backbones import catalogue, tiny_weights

from tasks.choose_backbone import choose_backbone
from tasks.errors import BackboneRefused
from tasks.params import ChooseBackboneParams
from tasks.weights import create_backbone

PARAMS = ChooseBackboneParams(name="tiny")
FUTURE = date(2999, 1, 1)


@pytest.fixture
def project(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    return catalogue(tmp_path, sha256=sha256, review_by=FUTURE, mean=[0.1, 0.2, 0.3]).source


def choose(project, params=PARAMS, winner="tiny"):
    selection = {"winner": winner, "why": [f"{winner}: the lowest loss."], "candidates": [{"name": winner}]}
    (project.parent / "selection.json").write_text(json.dumps(selection))
    folder = project.parent
    return choose_backbone.fn(project, folder / "backbones", folder / "selection.json", params, folder / "out")


def test_the_weights_are_copied_byte_for_byte_and_build_a_network(project):
    out = choose(project)
    copied = out / "backbone.safetensors"
    assert copied.read_bytes() == (project.parent / "backbones/tiny.safetensors").read_bytes()
    passport = json.loads((out / "passport.json").read_text())
    create_backbone(passport["architecture"], copied, num_classes=3)


def test_the_passport_holds_what_is_known(project):
    passport = json.loads((choose(project) / "passport.json").read_text())
    assert passport["name"] == "tiny"
    assert passport["architecture"] == "test_resnet"
    assert passport["mean"] == [0.1, 0.2, 0.3]
    assert passport["std"] == [0.5, 0.5, 0.5]
    assert passport["parameters"] == 372688
    assert passport["tensors"] == {"F32": 75, "I64": 15}
    assert passport["biases"] == ["none learned"]
    assert passport["review_by"] == "2999-01-01"
    assert passport["policy"]["formats"] == ["safetensors"]


def test_the_notice_credits_the_publisher_and_names_licence_hash_and_papers(project):
    out = choose(project)
    notice = (out / "NOTICE").read_text()
    sha256 = json.loads((out / "passport.json").read_text())["sha256"]
    for part in ("by nobody", "Apache-2.0", sha256, "nobody 2026", "weights were trained further"):
        assert part in notice


def test_a_second_run_keeps_the_result_and_writes_the_same_bytes_when_forced(project):
    out = choose(project)
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "NOTICE").write_text("touched")
    choose(project)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == first


def test_weights_that_changed_on_disk_are_refused_and_the_old_result_is_kept(project):
    out = choose(project)
    before = (out / "backbone.safetensors").read_bytes()
    tiny_weights(project.parent / "backbones/tiny.safetensors", seed=1)
    with pytest.raises(BackboneRefused, match="the catalogue records"):
        choose(project)
    assert (out / "backbone.safetensors").read_bytes() == before


def test_an_overdue_review_is_refused(tmp_path):
    sha256 = tiny_weights(tmp_path / "backbones/tiny.safetensors")
    book = catalogue(tmp_path, sha256=sha256, review_by=date(2020, 1, 1))
    with pytest.raises(BackboneRefused, match="was to be reviewed by 2020-01-01"):
        choose(book.source)


def test_a_file_outside_the_watched_folder_is_refused(tmp_path):
    (tmp_path / "backbones").mkdir()
    sha256 = tiny_weights(tmp_path / "elsewhere.safetensors")
    book = catalogue(tmp_path, sha256=sha256, review_by=FUTURE, weights={"file": "elsewhere.safetensors"})
    with pytest.raises(BackboneRefused, match=r"elsewhere\.safetensors lies outside .*backbones"):
        choose(book.source)


def test_an_unlisted_name_is_refused(project):
    with pytest.raises(BackboneRefused, match="'huge' is not listed"):
        choose(project, ChooseBackboneParams(name="huge"))


def chosen(out):
    return json.loads((out / "passport.json").read_text())["chosen"]


def test_auto_takes_the_winner_of_the_shortlist_and_says_so(project):
    out = choose(project, ChooseBackboneParams(name="auto"))
    assert chosen(out)["by"] == "the shortlist"
    assert chosen(out)["sentence"] == "The shortlist chose tiny: the lowest loss."


def test_a_fixed_name_says_that_a_person_chose_it_and_what_the_shortlist_would_have_said(project):
    assert "the shortlist says the same" in chosen(choose(project))["sentence"]
    other = chosen(choose(project, winner="huge"))
    assert (other["by"], other["shortlist"]) == ("a person", "huge")
    assert "did not compare it, and would have chosen huge: the lowest loss." in other["sentence"]


def test_a_winner_that_the_policy_no_longer_allows_is_refused(project):
    with pytest.raises(BackboneRefused, match="'huge' is not listed"):
        choose(project, ChooseBackboneParams(name="auto"), winner="huge")
