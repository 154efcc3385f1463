"""The whole way of a report by its commands, and that what users wrote is nowhere but in the store and its page."""

import datetime as dt
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tasks.cases import read_cases
from tasks.feedback import report_of
from tasks.feedback_store import FeedbackStore
from tasks.ledger import Ledger
from tests.night_entries import enter_night
from tests.small_checkout import working_in
from tests.small_feedback import MARKER, PROJECT, fields, picture, small_world

HERE = Path(__file__).parent.parent


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with answers in its log, as the working folder."""
    for name in ("KEEL_LOG", "KEEL_FEEDBACK_URL", "KEEL_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_ACTOR", "ann")
    place = tmp_path / "checkout"
    monkeypatch.setenv("KEEL_STATE", str(place / "state"))
    small_world(place)
    (place / "params.yaml").write_text("")
    (place / "governance/projects").mkdir(parents=True)
    (place / "governance/feedback.yaml").write_text((HERE / "governance/feedback.yaml").read_text())
    about = {"name": PROJECT, "data": "data", "cases": "cases"}
    (place / f"governance/projects/{PROJECT}.yaml").write_text(yaml.safe_dump(about))
    with working_in(place):
        yield place


def keel(*words: str, said: str | None = None, code: int = 0) -> str:
    """What a command of `keel feedback` prints."""
    done = CliRunner().invoke(app, ["feedback", *words, "--project", PROJECT], input=said)
    assert done.exit_code == code, done.output
    return done.output


def add(request: str, *words: str) -> str:
    """File a report with a text; its id."""
    out = keel("add", "--request", request, "--consent", "--text", "-", *words, said=f"{MARKER} {request}")
    return out.split()[1].rstrip(";")


def holders(root: Path, content: str) -> set[str]:
    """The files that hold the text."""
    held = (p for p in root.rglob("*") if p.is_file() and content.encode() in p.read_bytes())
    return {p.relative_to(root).as_posix() for p in held}


@pytest.mark.usefixtures("prefect_server")
def test_reports_become_labels_cases_or_noise_and_their_texts_stay_in_the_store(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reports = [add(f"r-{n}", "--label", "dog", "--rating", "1") for n in range(3)]
    assert keel("add", "--request", "r-1", "--no-consent", "--text", MARKER) == "counted; nothing was kept\n"
    assert "rating: Input should be less than or equal to 5" in keel(
        "add", "--request", "r-1", "--consent", "--rating", "9", "--text", MARKER, code=1
    )
    out = keel("review")
    assert [line.split()[0] for line in out.splitlines()[:3]] == reports[::-1]  # the least sure first
    assert "3 to review" in out
    outs = [
        out,
        keel("review", reports[0], "--as", "label", "--why", "it is"),
        keel("review", reports[1], "--as", "case", "--why", "dogs matter"),
        keel("review", reports[2], "--as", "noise", "--why", "a test call"),
        keel("list"),
        keel("summary"),
    ]
    assert "1 more came without consent" in outs[4]
    assert "no cell has enough people in it to be shown" in outs[5]
    assert MARKER not in "".join(outs) + caplog.text
    own = {name for name in holders(root, MARKER) if not name.startswith("state/feedback.db")}
    assert own == {f"state/feedback/{PROJECT}.html"}

    assert "cases/cases.csv: 1, reports: 1, rows of the log: 1\n" in keel("forget", "r-1")
    assert list(read_cases(Path("cases"))["case"]) == ["old"]
    assert f"{MARKER} r-1" not in caplog.text
    assert (holders(root, f"{MARKER} r-1"), len(holders(root, f"{MARKER} r-0"))) == (set(), 1)
    assert keel("expire") == "nothing was to be removed\n"


@pytest.mark.usefixtures("prefect_server")
def test_what_has_expired_goes_by_itself_and_a_person_is_told_what_nobody_here_can_remove(root: Path) -> None:
    store = FeedbackStore(f"sqlite:///{root}/state/feedback.db")
    report = store.add(report_of(fields(correct_label="dog", text=MARKER)))  # of June, for 30 days
    keel("review", report, "--as", "case", "--why", "dogs matter")
    assert len([p for p in root.rglob("*.png") if p.read_bytes() == picture(0)]) == 1
    out = keel("expire")
    assert "cases/cases.csv: 1, reports: 1, rows of the log: 1\n" in out
    assert "the history of git and backups still have what lay in them" in out
    assert (holders(root, MARKER), [p for p in root.rglob("*.png") if p.read_bytes() == picture(0)]) == (set(), [])


def test_summary_says_when_nights_and_reports_disagree(root: Path) -> None:
    store, today = FeedbackStore(f"sqlite:///{root}/state/feedback.db"), dt.datetime.now(dt.UTC)
    enter_night(Ledger(f"sqlite:///{root}/state/ledger.db"), "2026-06-01", "HEALTHY")
    for n in range(120):
        at, rating = today - dt.timedelta(days=n % 30), 1 if n % 30 < 7 else 5
        store.add(report_of(fields(f"x-{n}", at=at, rating=rating, client=f"{n % 40}")))
    out = keel("summary")
    assert "DISAGREEMENT: the last night is HEALTHY, but the reports are worse: 28 of the last 28 complain" in out
    assert "all             all" in out
    (root / "governance/watch.yaml").write_text((HERE / "governance/watch.yaml").read_text())
    nights = CliRunner().invoke(app, ["nights", "--project", PROJECT]).output
    assert nights.splitlines()[-1] == out.splitlines()[-1]


def test_what_has_expired_goes_before_the_nights_look() -> None:
    deployments = {d["name"]: d for d in yaml.safe_load((HERE / "prefect.yaml").read_text())["deployments"]}
    hours = {name: int(deployments[name]["schedules"][0]["cron"].split()[1]) for name in ("expire-feedback", "nightly")}
    assert hours["expire-feedback"] < hours["nightly"]
    assert deployments["expire-feedback"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
