"""A window is measured, held against its contract and scored once, whatever comes late; nothing stale is kept."""

import datetime as dt
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tasks.digests import identity
from tasks.errors import DataRejected, EvidenceMissing, NoImages
from tasks.images import decode
from tasks.night_tables import ScoredWindow, labelled_images
from tasks.params import CheckDataParams
from tasks.penultimate import FeatureScorer
from tasks.predict import score
from tasks.project import Project
from tasks.score_window import score_window
from tasks.scorer import to_pixels
from tasks.windows import Window
from tests.small_checkout import HERE
from tests.small_model import write_model
from tests.small_nights import write_late_labels, write_window

NIGHT = dt.date(2026, 6, 1)
PETS = Project(name="pets", data=Path("pets"), slices=["device"])


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [write_model(tmp_path / f"model{seed}", seed) for seed in range(2)]


def scored(tmp_path: Path, params: CheckDataParams, models: list[Path], about: Project = PETS) -> ScoredWindow:
    window = Window(NIGHT, tmp_path / "windows" / NIGHT.isoformat())
    return score_window.fn(window, about, params, models, tmp_path / "kept", HERE / "great_expectations")


def drawn(tmp_path: Path, images: int = 6, seed: int = 0) -> Path:
    return write_window(NIGHT.isoformat(), images, seed, root=tmp_path / "windows")


def test_features_are_the_inputs_of_the_last_layer(models: list[Path], tmp_path: Path) -> None:
    folder, scorer = drawn(tmp_path), FeatureScorer(models[0])
    image = decode(folder / "000.png", "000.png")
    probabilities, features = scorer.answer(torch.from_numpy(to_pixels(image, 32).copy())[None])
    head = scorer.net.get_classifier()
    logits = head(torch.from_numpy(features.astype(np.float32))).detach().double() / 1.5
    assert features.dtype == np.float16
    assert probabilities == pytest.approx(torch.softmax(logits, 1).numpy(), abs=2e-3)


def test_every_model_answers_as_it_does_in_a_release(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    folder = drawn(tmp_path)
    window = scored(tmp_path, check_data_params, models)
    assert (window.night, window.broken()) == ("2026-06-01", [])
    for model in models:
        answers = window.answers(identity(model))
        released = score(folder, answers[["image_id", "path", "sha256"]], model)
        assert answers["predicted"].tolist() == released["predicted"].tolist()
        assert answers["prob_cat"].to_numpy() == pytest.approx(released["prob_cat"].to_numpy(), abs=1e-6)
        assert len(window.embeddings(identity(model))) == len(answers) == 6
    assert answers["slice_device"].tolist() == ["new"] * 6
    assert answers["unit"].tolist() == [f"2026-06-01/{place:03d}.png" for place in range(6)]


def test_units_are_the_projects_where_an_image_has_one(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    file = drawn(tmp_path) / "metadata.csv"
    pd.read_csv(file).assign(scan=["s", "s", None, "t", "t", None]).to_csv(file, index=False)
    window = scored(tmp_path, check_data_params, models[:1], PETS.model_copy(update={"unit": "scan"}))
    alone = [f"2026-06-01/{place:03d}.png" for place in (2, 5)]
    assert window.table()["unit"].tolist() == ["s", "s", alone[0], "t", "t", alone[1]]


def test_a_window_without_the_projects_columns_is_read_all_the_same(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    file = drawn(tmp_path) / "metadata.csv"
    pd.read_csv(file)[["file_name"]].to_csv(file, index=False)
    about = PETS.model_copy(update={"group": "subject", "unit": "scan", "slices": ["device"]})
    window = scored(tmp_path, check_data_params, models[:1], about)
    assert window.broken() == []
    assert window.table()["group"].tolist() == window.table()["path"].tolist()
    assert (window.table()["slice_device"] == "").all()


def test_a_late_label_scores_nothing_again_and_a_changed_image_scores_everything(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    folder = drawn(tmp_path)
    window = scored(tmp_path, check_data_params, models)
    files = [window.folder / "scores" / identity(model) / "predictions.parquet" for model in models]
    for file in files:
        os.utime(file, (1, 1))
    metadata = folder / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("000.png,cat", "000.png,"))
    before = window.digest()
    again = scored(tmp_path, check_data_params, models)
    assert again.table()["label"][0] == ""
    assert (again.digest(), [file.stat().st_mtime for file in files]) == (before, [1, 1])
    Image.open(folder / "001.png").save(folder / "000.png")
    changed = scored(tmp_path, check_data_params, models[:1])
    assert changed.digest() != before
    assert files[0].stat().st_mtime > 1
    assert [changed.has(identity(model)) for model in models] == [True, False]
    with pytest.raises(EvidenceMissing, match="run the night again"):
        changed.answers(identity(models[1]))


def test_two_images_that_change_names_change_answers(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    folder = drawn(tmp_path)
    first = scored(tmp_path, check_data_params, models[:1])
    before = first.answers(identity(models[0])).set_index("path")["prob_cat"]
    one, other = folder / "000.png", folder / "001.png"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    after = scored(tmp_path, check_data_params, models[:1]).answers(identity(models[0])).set_index("path")["prob_cat"]
    assert before["000.png"] != before["001.png"]
    assert (after["000.png"], after["001.png"]) == pytest.approx((before["001.png"], before["000.png"]), abs=1e-6)


def test_a_file_that_is_no_image_breaks_the_contract_and_leaves_the_others_scored(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    (drawn(tmp_path) / "002.png").write_bytes(b"no image")
    window = scored(tmp_path, check_data_params, models[:1])
    assert any("002.png" in rule for rule in window.broken())
    assert window.answers(identity(models[0]))["path"].tolist() == [f"{place:03d}.png" for place in (0, 1, 3, 4, 5)]


def test_a_window_that_is_not_there_or_measures_itself_is_refused(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    with pytest.raises(NoImages, match="there is no window"):
        scored(tmp_path, check_data_params, models)
    file = drawn(tmp_path) / "metadata.csv"
    pd.read_csv(file).assign(sharpness=1).to_csv(file, index=False)
    with pytest.raises(DataRejected, match="sharpness"):
        scored(tmp_path, check_data_params, models)


def test_labelled_images_are_those_known_by_the_day_of_sound_windows(
    tmp_path: Path, models: list[Path], check_data_params: CheckDataParams
) -> None:
    folder = write_window(NIGHT.isoformat(), 6, labelled=False, root=tmp_path / "windows")
    write_late_labels(folder, 2, "2026-06-02T10:00")
    window = scored(tmp_path, check_data_params, models[:1])
    pairs = [(Window(NIGHT, folder), window), (Window(NIGHT, tmp_path / "none"), window)]
    assert labelled_images(pairs, NIGHT, {}).empty
    found = labelled_images(pairs, NIGHT + dt.timedelta(days=1), {})
    assert found["path"].tolist() == ["2026-06-01/000.png", "2026-06-01/001.png"]
    assert (tmp_path / "windows" / found["path"][0]).is_file()
    other = Window(NIGHT, write_window(NIGHT.isoformat(), 6, root=tmp_path / "others"))
    (other.folder / "labels.csv").write_text("file_name,label\nnone.png,cat\n")
    beside = labelled_images([(other, window), *pairs], NIGHT + dt.timedelta(days=1), {})
    assert beside["path"].tolist() == found["path"].tolist()  # labels that cannot be read hold up no others
    contract = json.loads((window.folder / "contract.json").read_text())
    contract["checks"][0] |= {"success": False}
    (window.folder / "contract.json").write_text(json.dumps(contract))
    assert labelled_images(pairs, NIGHT + dt.timedelta(days=1), {}).empty
