"""A day of the log is a window like any folder: the same evidence, images or not; what was not an image is counted."""

import dataclasses
import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.digests import identity
from tasks.errors import DataRejected, NoImages
from tasks.ledger import Ledger
from tasks.logged_window import say_traffic, traffic_of
from tasks.night import Answer
from tasks.night_page import anomalies
from tasks.night_tables import ScoredWindow, labelled_images
from tasks.params import CheckDataParams
from tasks.predict import score
from tasks.prediction_log import PredictionLog, add_labels, forget, lookup
from tasks.project import Project
from tasks.score_logged import is_current, is_logged, score_logged
from tasks.score_window import score_window
from tasks.versions import Served
from tasks.watch import Watch, load_watch
from tasks.watch_drift import watch_drift
from tasks.watch_harm import watch_harm
from tasks.window_of_log import window_of_log
from tasks.windows import Window, find_windows
from tests.drawn_nights import draw_served
from tests.logged_rows import draw_row, labels_of, log_folder
from tests.small_checkout import HERE
from tests.small_model import write_model
from tests.small_nights import write_watch, write_window

NIGHTS = [dt.date(2026, 6, day) for day in (1, 2, 3)]
PETS = Project(name="pets", data=Path("pets"), group="subject", slices=["device"])
pytestmark = pytest.mark.usefixtures("own_state")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", 0)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def folder_of(tmp_path: Path, night: dt.date = NIGHTS[0], images: int = 12) -> Path:
    return write_window(night.isoformat(), images, seed=night.day, wrong=night.day == 3, root=tmp_path / "windows")


def written(place: str, tmp_path: Path, zone: str = "UTC", last: dt.date = NIGHTS[-1]) -> Path:
    return window_of_log.fn(place, "pets", zone, last, tmp_path / "of_log")


def scored(tmp_path: Path, folder: Path, params: CheckDataParams, *models: Path) -> tuple[Window, ScoredWindow]:
    window = Window(dt.date.fromisoformat(folder.name), folder)
    ask = score_logged if is_logged(window) else score_window
    out = tmp_path / ("kept-logged" if is_logged(window) else "kept") / folder.name
    return window, ask.fn(window, PETS, params, list(models), out, HERE / "great_expectations")


def rules(tmp_path: Path) -> Watch:
    write_watch(tmp_path / "watch.yaml", reference={"nights": 1, "first": None, "reason": "for the test"})
    return load_watch(tmp_path / "watch.yaml")


def judged(
    pairs: list[tuple[Window, ScoredWindow]], champion: Served, watch: Watch, ledger: Ledger
) -> tuple[Answer, Answer]:
    """What the last night's labels and its drift come to, after the others as the reference."""
    (tonight, window), reference = pairs[-1], [one for _, one in pairs[:-1]]
    harm = watch_harm.fn(ledger, "pets", watch, champion, tonight, pairs, {}, {})
    return harm, watch_drift.fn(tonight, window, reference, champion, watch, harm, seed=1)


def test_a_night_says_the_same_of_the_log_as_of_the_folder_whether_images_were_kept_or_not(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    folders = [folder_of(tmp_path, night) for night in NIGHTS[1:]]
    for folder in folders:
        log_folder(place, "pets", folder, model, keep=0.5)
        add_labels(place, "pets", labels_of(folder))
    windows = find_windows(written(place, tmp_path))
    champion = dataclasses.replace(draw_served(tmp_path / "served"), digest=identity(model))
    watch = rules(tmp_path)
    by_folder, by_log = (
        judged([scored(tmp_path, f, check_data_params, model) for f in found], champion, watch, Ledger(url))
        for found, url in (
            (folders, f"sqlite:///{tmp_path}/folder.db"),
            ([w.folder for w in windows], f"sqlite:///{tmp_path}/log.db"),
        )
    )
    assert (by_log[0].against, by_log[0].said) == (by_folder[0].against, by_folder[0].said)
    assert by_log[0].facts["states"] == by_folder[0].facts["states"]
    assert by_log[0].facts["counted"] == by_folder[0].facts["counted"] == 24
    assert (by_log[1].against, by_log[1].said) == (by_folder[1].against, by_folder[1].said)
    drift, expected = by_log[1].facts["drift"], by_folder[1].facts["drift"]
    assert [test["statistic"] for test in drift["tests"]] == pytest.approx([t["statistic"] for t in expected["tests"]])
    assert drift["adjusted"] == pytest.approx(expected["adjusted"])
    last = scored(tmp_path, windows[-1].folder, check_data_params, model)[1]
    assert last.digest() == scored(tmp_path, folders[-1], check_data_params, model)[1].digest()
    shown = anomalies(drift, last.answers(identity(model)), windows[-1].folder)
    kept = {path.name for path in windows[-1].folder.glob("*.png")}
    assert {one["note"].partition(":")[0] for one in shown if one["picture"]} <= kept
    assert (len(kept), len(shown)) == (6, 2)


def test_a_model_is_asked_only_for_what_it_did_not_answer_and_what_was_kept(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    folder = folder_of(tmp_path)
    other = write_model(tmp_path / "other", 1)
    log_folder(place, "pets", folder, model, keep=0.5, probabilities=(0.1, 0.9))
    off_path = PredictionLog(place)
    seen = lookup(place, "pets", "2026-06-01-0011")["embedding"][0]
    told = {
        "embedding": seen,
        "at": dt.datetime(2026, 6, 1, 9, tzinfo=dt.UTC),
        "request_id": "2026-06-01-0011",
        "model": identity(other),
    }
    off_path.append(draw_row(11, **told, answered=False, arm="challenger", probabilities=(0.6, 0.4)))
    off_path.close()
    window, found = scored(tmp_path, written(place, tmp_path) / "2026-06-01", check_data_params, model, other)
    own = found.answers(identity(model))
    assert own["prob_dog"].tolist() == [0.9] * 12  # what was answered, whatever the model would say now
    theirs = found.answers(identity(other))
    assert theirs["path"].tolist() == [f"2026-06-01-{n:04d}.png" for n in (0, 1, 2, 3, 4, 5, 11)]
    assert theirs["prob_cat"].iloc[-1] == 0.6
    released = score(window.folder, found.table().head(6).assign(sha256=lambda rows: rows["kept"]), other)
    assert theirs["prob_cat"].head(6).to_numpy() == pytest.approx(released["prob_cat"].to_numpy(), abs=1e-6)
    assert len(found.embeddings(identity(other))) == 7
    assert found.broken() == []


def test_versions_are_compared_on_kept_images_alone(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    folder = folder_of(tmp_path)
    log_folder(place, "pets", folder, model, keep=0.5)
    add_labels(place, "pets", labels_of(folder))
    root = written(place, tmp_path)
    images = labelled_images([scored(tmp_path, root / "2026-06-01", check_data_params, model)], NIGHTS[0], {})
    assert len(images) == 6
    assert len(score(root, images, model)) == 6  # which refuses a file of another content


def test_one_content_is_one_image_and_a_label_of_any_of_its_requests_is_its_label(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    folder = folder_of(tmp_path)
    shutil.copy(folder / "000.png", folder / "011.png")
    log_folder(place, "pets", folder, model)
    label = {"request_id": "2026-06-01-0011", "label": "dog", "labelled_at": "2026-06-02T01:00+02:00", "source": "s"}
    add_labels(place, "pets", pd.DataFrame([label]))
    root = written(place, tmp_path)
    window, found = scored(tmp_path, root / "2026-06-01", check_data_params, model)
    assert len(found.table()) == 11
    assert traffic_of(window)["repeated"] == 1
    assert labelled_images([(window, found)], NIGHTS[0], {})["path"].tolist() == ["2026-06-01/2026-06-01-0000.png"]
    written(place, tmp_path, "Europe/Berlin")
    assert labelled_images([(window, found)], NIGHTS[0], {}).empty  # there it was told on the second of June


def test_what_the_door_turned_away_and_what_failed_is_counted_and_is_no_image(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    log_folder(place, "pets", folder_of(tmp_path), model)
    log = PredictionLog(place)
    log.append(draw_row(1, arm="", model="", measures={"decodable": False}, reasons=("the file is empty",)))
    log.append(draw_row(2, error="out of memory"))
    log.close()
    window, found = scored(tmp_path, written(place, tmp_path) / "2026-06-01", check_data_params, model)
    assert (len(found.table()), found.broken()) == (12, [])
    came = traffic_of(window)
    assert (came["requests"], came["turned_away"], came["errors"], came["abstained"]) == (14, 1, 1, 0)
    assert came["latency_ms"] == {"p50": 3.5, "p99": 3.5}
    assert came["guards"] == {"ood": {"p50": 0.5, "p95": 0.5}}
    assert "of 14 requests 1 were turned away at the door, 1 failed" in say_traffic(came)


def test_a_day_on_which_nobody_was_answered_has_no_images(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    log = PredictionLog(place)
    log.append(draw_row(1, arm="", model=""))
    log.close()
    with pytest.raises(NoImages, match="of 1 requests 1 were turned away"):
        scored(tmp_path, written(place, tmp_path) / "2026-06-01", check_data_params, model)


def test_a_champion_that_answered_nothing_and_cannot_be_asked_is_no_evidence(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    log_folder(place, "pets", folder_of(tmp_path), model, keep=0)
    other = write_model(tmp_path / "other", 1)
    folder = written(place, tmp_path) / "2026-06-01"
    with pytest.raises(DataRejected, match="answered none of the 12 images"):
        scored(tmp_path, folder, check_data_params, other, model)
    _, found = scored(tmp_path, folder, check_data_params, model, other)
    assert (found.has(identity(model)), found.has(identity(other))) == (True, False)


def test_a_torn_file_makes_its_day_unjudgeable_and_no_other(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    for night in NIGHTS[:2]:
        log_folder(place, "pets", folder_of(tmp_path, night), model)
    Path(place, "pets/answers/date=2026-06-01/part-x.parquet").write_bytes(b"torn")
    root = written(place, tmp_path)
    with pytest.raises(DataRejected, match=r"part-x\.parquet"):
        scored(tmp_path, root / "2026-06-01", check_data_params, model)
    assert len(scored(tmp_path, root / "2026-06-02", check_data_params, model)[1].table()) == 12


def test_windows_are_made_again_only_where_rows_changed_and_never_of_days_to_come(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    for night in NIGHTS:
        log_folder(place, "pets", folder_of(tmp_path, night), model)
    root = written(place, tmp_path, last=NIGHTS[1])
    assert [window.date for window in find_windows(root)] == NIGHTS[:2]
    before = {window.name: (window.folder / "answers.parquet").stat().st_mtime_ns for window in find_windows(root)}
    window, found = scored(tmp_path, root / "2026-06-01", check_data_params, model)
    assert is_current(window, found)
    assert forget(place, "pets", ["2026-06-01-0000"]) == 1
    written(place, tmp_path, last=NIGHTS[1])
    after = {window.name: (window.folder / "answers.parquet").stat().st_mtime_ns for window in find_windows(root)}
    assert after["2026-06-01"] != before["2026-06-01"]
    assert after["2026-06-02"] == before["2026-06-02"]
    assert not is_current(window, found)
    _, found = scored(tmp_path, root / "2026-06-01", check_data_params, model)
    assert "2026-06-01-0000.png" not in found.answers(identity(model))["path"].tolist()
    assert not (root / "2026-06-01/2026-06-01-0000.png").exists()


def test_days_are_those_of_the_time_zone(tmp_path: Path, place: str) -> None:
    log = PredictionLog(place)
    log.append(draw_row(1, at=dt.datetime(2026, 6, 1, 23, tzinfo=dt.UTC)))
    log.close()
    assert [w.name for w in find_windows(written(place, tmp_path))] == ["2026-06-01"]
    root = window_of_log.fn(place, "pets", "Asia/Tokyo", NIGHTS[-1], tmp_path / "tokyo")
    assert [w.name for w in find_windows(root)] == ["2026-06-02"]


def test_words_of_clients_cannot_take_the_place_of_what_was_measured(
    tmp_path: Path, place: str, model: Path, check_data_params: CheckDataParams
) -> None:
    words: dict[str, Any] = {"label": "cat", "path": "../x", "sha256": "0", "device": 'new, "or" old'}
    log_folder(place, "pets", folder_of(tmp_path), model, about=words)
    _, found = scored(tmp_path, written(place, tmp_path) / "2026-06-01", check_data_params, model)
    assert found.table()["label"].tolist() == [""] * 12
    assert found.table()["slice_device"].tolist() == ['new, "or" old'] * 12
    assert np.unique(found.table()["sha256"]).size == 12
    assert json.loads((found.folder / "contract.json").read_text())["success"]


def test_labels_that_reports_became_are_not_those_of_a_night(tmp_path: Path, place: str, model: Path) -> None:
    folder = folder_of(tmp_path)
    log_folder(place, "pets", folder, model)
    labels = labels_of(folder)
    labels.loc[labels.index[:3], "source"] = "feedback 12ab"
    add_labels(place, "pets", labels)
    told = pd.read_csv(written(place, tmp_path) / "2026-06-01" / "labels.csv", dtype=str)
    assert len(told) == len(labels) - 3
    assert not set(told["file_name"]) & {f"{request}.png" for request in labels["request_id"][:3]}
