"""The whole night on a small release: every verdict, once, finished after a kill, and without a label counted twice."""

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import flows.cli
import flows.nightly
from flows.nightly import nightly
from flows.release import Released
from flows.rollback import Answer as Acted
from tasks.counted import counted_images
from tasks.errors import BadInput, Busy
from tasks.lease import hold
from tasks.ledger import Entry, Ledger
from tasks.night import CANNOT_JUDGE, HARM, HEALTHY, NO_DATA, Night
from tasks.night import WATCH as WATCHED
from tasks.nights import figures
from tasks.places import log_place
from tasks.prediction_log import add_labels
from tasks.registry import Registry
from tasks.settings import settings
from tests.logged_rows import labels_of, log_folder
from tests.small_checkout import working_in, write_project
from tests.small_nights import PRODUCTION, write_late_labels, write_watch, write_window

pytestmark = pytest.mark.usefixtures("prefect_server")
WATCH = Path("governance/watch.yaml")
NO_DRIFT = {"nights": 2, "first": dt.date(2099, 1, 1), "reason": "drift is not what the test is about"}


@pytest.fixture(autouse=True)
def with_champion(released: tuple[Path, Released], tmp_path: Path) -> Iterator[None]:
    """A copy as the working folder; the model is read from where it was logged."""
    shutil.copytree(released[0], tmp_path / "checkout", ignore=shutil.ignore_patterns("mlartifacts", "uncommitted"))
    with working_in(tmp_path / "checkout"):
        write_watch(WATCH, reference=NO_DRIFT)
        yield


def judge(*days: int, **asked: Any) -> list[Night]:
    """The nights from the first of these days of June to the last."""
    first, last = (f"2026-06-{day:02d}" for day in (days[0], days[-1]))
    return nightly(project="pets", date=first, until=last, **asked)


def entries(kind: str) -> list[Entry]:
    return Ledger(settings().ledger_url).read("pets", kind)


def counted(night: Night) -> int:
    """How many labels count in the monitors of the night's model, from this night or an earlier one on."""
    return len(counted_images(Ledger(settings().ledger_url), "pets", night.body["model"]))


def keel(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(flows.cli.app, [*words, "--project", "pets"])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_sound_nights_are_healthy_judged_once_and_again_when_their_images_change() -> None:
    write_watch(WATCH)
    for day in (1, 2, 3):
        write_window(f"2026-06-0{day}", seed=day)
    nights = nightly(project="pets")
    assert [night.verdict for night in nights] == [HEALTHY] * 3
    assert [night.body["drift"]["reference"] for night in nights] == [
        [],
        ["2026-06-01"],
        ["2026-06-01", "2026-06-02"],
    ]
    assert nights[2].body["drift"]["drift"]["p"] > 0.05
    assert counted(nights[2]) == 36
    pages = Path("runs/pets/nights")
    names = {file.name for file in (pages / "2026-06-03").iterdir()}
    assert {"night.html", "night.json", "evidently.html", "evidently_quality.html", "drift.json"} <= names
    run = Registry("pets", settings()).client.get_run(nights[2].body["run"])
    assert run.data.metrics["labels counted"] == 12
    assert judge(3) == nights[2:]
    assert nightly(project="pets") == []
    assert len(entries("night")) == 3
    Image.fromarray(np.full((32, 32, 3), 120, np.uint8)).save(PRODUCTION / "2026-06-03/000.png")
    write_watch(WATCH, reference=NO_DRIFT)
    [again] = judge(3)
    assert again.number > nights[2].number
    assert again.body["window"] != nights[2].body["window"]
    assert (counted(again), figures(entries("night"), 0.95)["2026-06-03"]["n"]) == (36, 12)
    assert again.body["harm"]["states"] == nights[2].body["harm"]["states"]
    code, lines = keel("nights")
    assert (code, lines.count("HEALTHY")) == (0, 2)


def test_without_a_sound_window_a_night_has_no_data_or_cannot_be_judged_until_the_images_come() -> None:
    (PRODUCTION / "2026-06-02").mkdir(parents=True)
    write_window("2026-06-03", images=3)
    broken = write_window("2026-06-04")
    (broken / "005.png").write_bytes(b"no image")
    nights = judge(1, 4)
    assert [night.verdict for night in nights] == [NO_DATA, NO_DATA, NO_DATA, CANNOT_JUDGE]
    assert "3 images came, and a night takes 6" in nights[2].sentence
    assert "005.png" in nights[3].sentence
    assert [night.body["harm"].get("counted", 0) for night in nights] == [0] * 4
    assert judge(1, 4) == nights
    write_window("2026-06-04")
    [mended] = judge(4)
    assert (mended.verdict, mended.body["harm"]["counted"]) == (HEALTHY, 12)
    code, said = keel("nightly", "--date", "2026-06-01", "--until", "2026-06-02")
    assert code == 3
    assert "NO DATA 2026-06-01: there is no window" in said
    with pytest.raises(BadInput, match="2099-01-01 is to come"):
        nightly(project="pets", date="2099-01-01")
    assert len(entries("night")) == 5


def test_a_window_sent_again_counts_no_label_twice_and_a_mended_one_is_judged_after_all() -> None:
    first = write_window("2026-06-01", seed=1)
    shutil.copytree(first, PRODUCTION / "2026-06-02")
    misspelt = write_window("2026-06-03", seed=3) / "metadata.csv"
    right = misspelt.read_text()
    misspelt.write_text(right.replace("cat", "cta", 1))
    nights = judge(1, 3)
    assert [night.verdict for night in nights] == [HEALTHY, CANNOT_JUDGE, CANNOT_JUDGE]
    assert "the images are those of the night 2026-06-01, sent again" in nights[1].sentence
    assert counted(nights[2]) == 12
    misspelt.write_text(right)
    [mended] = judge(3)
    assert (mended.verdict, mended.body["harm"]["counted"], counted(mended)) == (HEALTHY, 12, 24)


def test_harm_opens_one_incident_even_after_a_kill_and_is_over_with_a_sound_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_window("2026-06-01", seed=1)
    write_window("2026-06-02", images=24, seed=2, wrong=True)
    monkeypatch.setattr(flows.nightly, "open_incident", interrupt)
    with pytest.raises(KeyboardInterrupt):
        judge(1, 2)
    monkeypatch.undo()
    assert entries("night")[-1].body["verdict"] == HARM
    assert not entries("incident")
    assert not Path("runs/pets/nights/2026-06-02/night.html").exists()
    write_window("2026-06-03", images=40, seed=3)
    [third] = judge(3)
    [incident] = entries("incident")
    assert incident.body["night"] == "2026-06-02"
    assert "errs more than was accepted" in incident.body["cause"]
    assert Registry("pets", settings()).aliases()["champion"] == "1"
    assert third.verdict == HEALTHY
    assert third.body["harm"]["over"]["night"] == "2026-06-02"
    assert any("the harm found on 2026-06-02 is over" in said for said in third.body["sentences"])
    [second] = judge(2)
    assert second.verdict == HARM
    assert Path("runs/pets/nights/2026-06-02/night.html").is_file()
    assert len(entries("incident")) == 1
    assert counted(third) == 12 + 24 + 40
    assert keel("nightly", "--date", "2026-06-02")[0] == 2


def test_while_an_alarm_is_open_each_night_whose_labels_count_compares_the_versions_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fails where the next comparison waits for another alarm, or a night's is made twice after a kill.
    write_window("2026-06-01", images=24, seed=1, wrong=True)
    write_late_labels(write_window("2026-06-02", seed=2, labelled=False), 6, "2026-06-02T09:00")
    judge(1)
    monkeypatch.setattr(flows.nightly, "enter_comparison", interrupt)
    with pytest.raises(KeyboardInterrupt):
        judge(2)
    monkeypatch.undo()
    [night] = judge(2)
    assert (night.verdict, night.body["harm"]["open"]["night"]) == (WATCHED, "2026-06-01")
    [incident], [comparison] = entries("incident"), entries("comparison")
    assert (comparison.body["incident"], comparison.body["night"]) == (incident.number, "2026-06-02")
    assert (incident.body["evidence"]["comparison"]["n"], comparison.body["evidence"]["comparison"]["n"]) == (24, 30)
    assert comparison.body["action"].startswith("no move: ")
    page = Path("runs/pets/nights/2026-06-02/night.html").read_text()
    assert f"incident {incident.number}" in page
    assert judge(2) == [night]
    assert len(entries("comparison")) == 1


def test_a_later_move_is_made_for_the_harm_though_the_night_has_labels_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fails where the first sentence of the night, whatever it says, is the reason on record of a move.
    whys: list[str] = []
    monkeypatch.setattr(
        flows.nightly,
        "roll_back_if_proved",
        lambda *asked: whys.append(asked[5]) or Acted(None, None, "no move: label more"),
    )
    first = write_window("2026-06-01", images=24, seed=1, wrong=True)
    judge(1)
    (first / "labels.csv").write_text("file_name,label\n000.png,cat \n")
    write_late_labels(write_window("2026-06-02", seed=2, labelled=False), 6, "2026-06-02T09:00")
    [night] = judge(2)
    assert (night.verdict, night.body["harm"]["open"]["night"]) == (CANNOT_JUDGE, "2026-06-01")
    assert whys == [entries("incident")[0].body["cause"]] * 2


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_late_labels_count_on_the_night_that_finds_them_and_join_the_night_of_their_images() -> None:
    first = write_window("2026-06-01", seed=1, labelled=False)
    [night] = judge(1)
    assert (night.verdict, night.body["harm"]["counted"]) == (CANNOT_JUDGE, 0)
    write_late_labels(first, 4, "2026-06-02T09:00")
    write_window("2026-06-02", seed=2)
    [night] = judge(2)
    assert night.body["harm"]["counted"] == 16
    assert figures(entries("night"), 0.95)["2026-06-01"]["n"] == 4
    (first / "labels.csv").write_text("file_name,label\n000.png,cat \n")
    write_window("2026-06-03", seed=3)
    [night] = judge(3)
    assert night.verdict == CANNOT_JUDGE
    assert "the labels of 000.png begin or end with a space" in night.sentence
    assert counted(night) == 16 + 12  # tonight's own, which wait for nobody


def test_versions_are_compared_on_the_labels_that_showed_the_harm_though_they_came_late() -> None:
    # Fails where the windows since the night of the alarm are taken: their labels have not come yet.
    late = write_window("2026-06-01", images=24, seed=1, labelled=False)
    write_window("2026-06-02", seed=2, labelled=False)
    judge(1)
    write_late_labels(late, 24, "2026-06-02T09:00", wrong=True)
    [night] = judge(2)
    assert (night.verdict, list(night.body["harm"]["figures"])) == (HARM, ["2026-06-01"])
    [incident] = entries("incident")
    assert "no label has arrived" not in incident.body["action"]
    assert incident.body["evidence"]["comparison"]["n"] == 24


def test_labels_that_cannot_be_read_stop_no_night_of_harm() -> None:
    # Fails where `act` asks for the labels of every window: each later run would fail at this night again.
    first = write_window("2026-06-01", seed=1, labelled=False)
    write_late_labels(first, 4, "2026-06-01T09:00", wrong=True)
    assert [night.verdict for night in judge(1)] != [HARM]
    (first / "labels.csv").write_text("file_name,label\n000.png,cat \n")
    write_window("2026-06-02", images=24, seed=2, wrong=True)
    [night] = judge(2)
    assert night.verdict == HARM
    [incident] = entries("incident")
    assert incident.body["evidence"]["comparison"]["n"] == 24


def test_a_recording_that_fails_leaves_no_counted_label_and_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    write_window("2026-06-01")
    monkeypatch.setattr(Registry, "check_hold", refuse)
    with pytest.raises(Busy):
        judge(1)
    monkeypatch.undo()
    assert not entries("night")
    [night] = judge(1)
    assert counted(night) == night.body["harm"]["counted"] == 12


def refuse(_: Registry) -> None:
    raise Busy("another process took over")


def test_a_second_run_at_once_is_refused() -> None:
    with hold(Ledger(settings().ledger_url), "pets.nightly", settings().state, wait=1), pytest.raises(Busy):
        judge(1)
    assert not entries("night")


def test_nights_missed_are_made_up_for_as_far_back_as_the_rules_say() -> None:
    today = dt.datetime.now(dt.UTC).date()
    nightly(project="pets", date=(today - dt.timedelta(days=6)).isoformat())
    judged = nightly(project="pets", date="yesterday")
    assert [night.night for night in judged] == [(today - dt.timedelta(days=back)).isoformat() for back in (3, 2, 1)]
    assert {night.verdict for night in judged} == {NO_DATA}


def test_a_simulated_fault_is_written_and_judged_from_a_folder_of_its_own() -> None:
    code, said = keel("simulate", "--from", "2026-07-01", "--condition", "fog", "--images", "8", "--out", "rehearsal")
    assert (code, "rehearsal/2026-07-01" in said) == (0, True)
    code, said = keel("nightly", "--windows", "rehearsal")
    assert " 2026-07-01: " in said
    assert entries("night")[-1].body["images"] == 8


def test_nights_of_the_log_are_judged_from_what_was_answered_though_no_image_was_kept() -> None:
    folders = [
        write_window(f"2026-06-0{day}", seed=day, wrong=day == 3, images=24 if day == 3 else 12) for day in (1, 2, 3)
    ]
    judge(1)
    [champion] = Path("runs/pets/served").glob("*/model")
    for folder in folders[1:]:
        log_folder(log_place(), "pets", folder, champion, keep=0)
        add_labels(log_place(), "pets", labels_of(folder))
    log_folder(log_place(), "pets", folders[0], champion, at=dt.datetime.now(dt.UTC))
    write_project(Path(), windows="log")
    second, third = nightly(project="pets")  # today is not over, and no window yet
    assert (second.verdict, third.verdict) == (HEALTHY, HARM)
    assert (second.body["harm"]["counted"], third.body["harm"]["counted"]) == (12, 24)
    assert second.body["traffic"]["requests"] == 12
    assert "of 12 requests 0 were turned away" in second.body["sentences"][-1]
    assert Path("runs/pets/nights/2026-06-03/night.html").is_file()
    assert judge(1, 3, windows="pets/production")[1:] == [second, third]  # the same images: on record
    assert keel("nightly", "--windows", "log", "--date", "today")[0] == 3
