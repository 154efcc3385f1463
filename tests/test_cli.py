"""`keel` as a person meets it: exit codes, and one clear error for each thing that can be wrong."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest
import torch
import yaml
from dvc.repo import Repo
from PIL import Image
from typer.testing import CliRunner

import flows.cli
import flows.terminal
from tasks.digests import sha256_file
from tasks.ledger import Ledger
from tasks.registry import Registry
from tasks.settings import settings
from tests.small_checkout import HERE, QUICK, working_in, write_plan, write_project

pytestmark = pytest.mark.usefixtures("prefect_server")
WEIGHTS = Path("backbones/test_resnet/backbone.safetensors")
HEAVY = "torch prefect mlflow evidently great_expectations sklearn dvc timm lightning pandas numpy"


def keel(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output, and what standard error holds besides the lines of progress."""
    done = CliRunner().invoke(flows.cli.app, list(words))
    assert "Traceback" not in done.output
    return done.exit_code, done.stdout, "\n".join(line for line in done.stderr.splitlines() if line[:1] != "[")


def refused(*words: str) -> str:
    """The error of a release that stops before anything is written to the registry."""
    code, out, error = keel("release", "--project", "pets", *words)
    assert (code, out) == (1, "")
    assert nothing_is_recorded()
    return error


def nothing_is_recorded() -> bool:
    """Whether the ledger holds no more than the plan, as it does before anything reaches the registry."""
    ledger = Path("state/ledger.db").absolute()
    return not ledger.exists() or [e.kind for e in Ledger(f"sqlite:///{ledger}").read()] in ([], ["plan"])


@pytest.fixture(scope="module")
def by_command(learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkout after a `keel release` of what is learnt already."""
    root = tmp_path_factory.mktemp("released") / "checkout"
    shutil.copytree(learnt, root)
    with working_in(root):
        code, out, _ = keel("release", "--project", "pets")
        assert code == 0, out
        assert "champion: version 1" in out
    return root


@pytest.fixture
def at_released(by_command: Path) -> Iterator[None]:
    with working_in(by_command):
        yield


@pytest.mark.parametrize("words", [["--help"], ["release", "--help"], ["certify", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    script = f"import sys; from flows.cli import app; app({words!r}, standalone_mode=False)\n"
    script += f"print(sorted(set({HEAVY.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=HERE)
    assert done.stdout.splitlines()[-1] == "[]"


def test_exit_code_is_the_verdict_and_the_champion_outlives_the_others(at_released: None) -> None:
    assert keel("release", "--project", "pets")[0] == 0
    plan = yaml.safe_load(Path("governance/plan.yaml").read_text())
    gain = {"metric": "accuracy_gain_over_scratch", "name": "gain", "at_least": 0.9}
    unmet = {**plan, "standard": [{**plan["standard"][0], **gain}]}
    Path("governance/plan.yaml").write_text(yaml.safe_dump(unmet))
    code, out, _ = keel("release", "--project", "pets")
    assert (code, "nothing was promoted" in out) == (2, True)
    write_plan(Path(), 0.6, minimum_n=10_000)
    assert keel("release", "--project", "pets")[0] == 3
    write_plan(Path(), 0.6)
    assert Registry("pets", settings()).aliases() == {"champion": "1", "challenger": None, "previous": None}


@pytest.mark.parametrize(
    "words", [["release", "--nope"], ["nope"], [], ["show", "last", "more"], ["release", "--project"]]
)
def test_wrong_command_line_does_not_end_like_a_verdict(words: list[str]) -> None:
    assert CliRunner().invoke(flows.cli.app, words).exit_code == 1


def test_status_and_show_answer_and_name_what_they_do_not_know(at_released: None) -> None:
    code, out, error = keel("status", "--project", "pets")
    assert (code, error, "champion    version 1" in out) == (0, "", True)
    assert keel("show", "champion", "--project", "pets")[0] == 0
    code, out, error = keel("show", "v99", "--project", "pets")
    assert (code, out, len(error.splitlines())) == (1, "", 1)
    assert keel("status", "--project", "cars")[0] == 1


@pytest.mark.parametrize(
    "command",
    [
        *(["release"], ["status"], ["show"], ["doctor"], ["ui"]),
        *(["risk", "list"], ["key", "new", "k"], ["approve", "--key", "k", "--why", "w"]),
        *(["waive", "a", "--until", "2026-12-31", "--why", "w"], ["risk", "accept", "r", "--key", "k", "--why", "w"]),
        *(["audit"], ["replay"], ["why", "2026-01-01"], ["diff", "v1", "v2"], ["changelog"]),
        *(["rollback", "--why", "w"], ["drill"], ["incident"]),
    ],
)
def test_outside_a_checkout_every_command_says_so(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = keel(*command)
    assert (code, out) == (1, "")
    assert "is not inside a Keel checkout: no params.yaml and governance/" in error


def picture(kind: str = "PNG", side: int = 32, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


def put(content: bytes) -> Callable[[], object]:
    return lambda: Path("pets/000.png").write_bytes(content)


def relabel(rows: range, label: str) -> Callable[[], None]:
    def change() -> None:
        table = pd.read_csv("pets/metadata.csv")
        table.loc[list(rows), "label"] = label
        table.to_csv("pets/metadata.csv", index=False)

    return change


def list_twice() -> None:
    with Path("pets/metadata.csv").open("a") as file:
        file.write("000.png,cat,old,s00\n")


def cut_short() -> None:
    put(Path("pets/000.png").read_bytes()[:500])()


MOVING = picture("GIF", save_all=True, append_images=[Image.new("1", (32, 32), 1)])
BAD_DATA: dict[str, tuple[Callable[[], object], str]] = {
    "zero bytes": (put(b""), "000.png (is empty (0 bytes)"),
    "truncated": (cut_short, "000.png (is damaged or cut short"),
    "not an image": (put(b"words"), "000.png (is not an image"),
    "animated": (put(MOVING), "000.png (holds 2 pictures"),
    "decompression bomb": (put(picture(side=30_000)), "000.png (is too large"),
    "one name twice": (list_twice, "images are listed more than once in pets/metadata.csv"),
    "unknown label": (relabel(range(10), "fox"), "every label is one of cat, dog: 10 break it"),
    "one class": (relabel(range(240), "cat"), "every one of the classes cat, dog has images: found none of dog"),
    "two images of a class": (relabel(range(2), "fox"), "a class has at least 8 images: 2 break it"),
    "exact duplicate": (lambda: shutil.copy("pets/000.png", "pets/002.png"), "no two files have the same content"),
    "an image that is listed and not there": (lambda: Path("pets/000.png").unlink(), "and not there; `dvc pull`"),
    "no images": (lambda: [p.unlink() for p in Path("pets").iterdir()], "pets holds no images"),
}


@pytest.mark.parametrize("name", list(BAD_DATA))
def test_bad_data_stop_with_their_own_error_and_nothing_is_registered(checkout: Path, name: str) -> None:
    spoil, said = BAD_DATA[name]
    write_project(Path(), classes=["cat", "dog"])
    spoil()
    error = refused()
    assert error.startswith(("DataRejected: ", "NoImages: "))
    assert said in error
    assert not Path("runs/pets/split").exists()


def entry(**changes: object) -> Callable[[], None]:
    def change() -> None:
        file = Path("governance/backbones.yaml")
        catalogue = yaml.safe_load(file.read_text())
        catalogue["backbones"][0] |= changes
        file.write_text(yaml.safe_dump(catalogue))

    return change


def pickle_weights() -> None:
    torch.save({"weight": torch.zeros(2)}, WEIGHTS)
    entry(sha256=sha256_file(WEIGHTS))()


def choose_another() -> None:
    write_project(Path(), params={**QUICK, "choose_backbone": {"name": "huge"}})


BAD_BACKBONES: dict[str, tuple[Callable[[], object], str]] = {
    "not listed": (choose_another, "backbone 'huge' is not listed in governance/backbones.yaml"),
    "licence": (entry(licence="CC-BY-NC-4.0"), "has licence 'CC-BY-NC-4.0', which is not allowed"),
    "hash": (entry(sha256="0" * 64), f"{WEIGHTS} has sha256 "),
    "pickle": (pickle_weights, "begins like a pickle or a zip of pickles"),
    "overdue": (entry(review_by="2020-01-01"), "was to be reviewed by 2020-01-01"),
    "not there": (WEIGHTS.unlink, f"the weights file {WEIGHTS} is not there; run `dvc pull`"),
}


@pytest.mark.parametrize("name", list(BAD_BACKBONES))
def test_backbone_against_the_policy_stops_and_nothing_is_learnt(checkout: Path, name: str) -> None:
    spoil, said = BAD_BACKBONES[name]
    spoil()
    error = refused()
    assert error.startswith("BackboneRefused: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert not Path("runs/pets/model").exists()


BAD_FILES: dict[str, tuple[Callable[[], object], str]] = {
    "data folder": (lambda: shutil.rmtree("pets"), "BadInput: the data folder pets is not there; `dvc pull`"),
    "params.yaml": (lambda: Path("params.yaml").write_text("split: ["), "BadInput: params.yaml is not valid YAML"),
    "a knob": (
        lambda: write_project(Path(), params={"split": {"trian": 0.5}}),
        "section split: trian: Extra inputs are not permitted; the keys are train,",
    ),
    "plan": (lambda: Path("governance/plan.yaml").write_text("a: ["), "governance/plan.yaml is not valid YAML"),
    "project": (lambda: write_project(Path(), grupo="x"), "pets.yaml: grupo: Extra inputs are not permitted"),
    "runs is a file": (lambda: Path("runs").touch(), "unexpected NotADirectoryError: "),
}


@pytest.mark.parametrize("name", list(BAD_FILES))
def test_broken_file_is_named_before_anything_is_learnt(checkout: Path, name: str) -> None:
    spoil, said = BAD_FILES[name]
    spoil()
    assert said in refused()
    assert not Path("runs/pets/model").exists()


def test_unexpected_error_is_one_sentence_and_its_traceback_a_file(checkout: Path) -> None:
    Path("runs").touch()
    error = refused()
    assert len(error.splitlines()) == 1
    assert "(traceback in state/last-error.txt)" in error
    assert "NotADirectoryError" in Path("state/last-error.txt").read_text()


def test_traceback_lies_where_the_state_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", "elsewhere")
    shutil.move("state", "elsewhere")
    Path("runs").touch()
    assert "(traceback in elsewhere/last-error.txt)" in keel("release", "--project", "pets")[2]
    assert Path("elsewhere/last-error.txt").is_file()


def test_unknown_project_says_which_there_are_and_how_to_begin_one(checkout: Path) -> None:
    code, out, error = keel("release", "--project", "cars")
    assert (code, out) == (1, "")
    assert "there is no project 'cars' in governance/projects (there are: pets); for a new one give --data DIR" in error
    assert nothing_is_recorded()


@pytest.mark.parametrize("command", ["release", "status", "show", "doctor", "audit", "replay", "changelog"])
def test_what_cannot_name_a_project_is_refused_by_every_command(checkout: Path, command: str) -> None:
    for name in ("a" * 300, "../pets", "Pets"):
        code, out, error = keel(command, "--project", name)
        assert (code, out, len(error.splitlines())) == (1, "", 1)
        assert error.startswith(f"BadInput: '{name[:80]}' cannot name a project; take small letters")


def test_project_file_under_another_name_publishes_nothing(checkout: Path) -> None:
    Path("governance/projects/pets.yaml").rename("governance/projects/cars.yaml")
    code, out, error = keel("release", "--project", "cars")
    assert (code, out) == (1, "")
    assert "cars.yaml says name: pets, so its models would be published as those of pets; say name: cars" in error
    assert nothing_is_recorded()


def test_new_project_is_begun_from_any_folder_of_the_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.terminal, "ROOM", 10**18)  # the project file is all that this test wants
    Path("notes").mkdir()
    os.chdir("notes")
    assert "make room" in keel("release", "--project", "cats", "--data", "../pets")[2]
    assert yaml.safe_load(Path("governance/projects/cats.yaml").read_text())["data"] == "pets"
    assert "make room" in keel("release", "--project", "cats", "--data", "pets")[2]


def test_changed_data_under_dvc_stop_unless_the_record_may_say_so(checkout: Path) -> None:
    with Repo.init(no_scm=True) as repo:
        repo.add("pets")
    relabel(range(1), "dog")()
    assert "DirtyData: pets differs from pets.dvc; `dvc diff` shows where. Run `dvc add pets`" in refused()
    assert keel("release", "--project", "pets", "--allow-dirty")[0] == 0
    record = json.loads(next(Path("governance/decisions/pets").glob("*.json")).read_text())
    assert (record["data"]["versioned"], record["data"]["dirty"]) == (True, True)
    assert "differs from the version that DVC recorded" in keel("show", "--project", "pets")[1]


def test_prefect_api_that_is_away_is_one_sentence(checkout: Path) -> None:
    away = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PYTHONPATH": str(HERE)}
    script = "from flows.cli import app; app(['release', '--project', 'pets'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=away, check=False)
    first, *rest = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(rest)) == (1, "", 1)
    assert "loading the libraries" in first
    assert "the Prefect API at http://127.0.0.1:9/api does not answer" in rest[0]
    assert nothing_is_recorded()


def test_server_of_one_run_that_is_away_is_not_told_as_one_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    said = flows.terminal.unexpected(httpx.ConnectError("refused"))
    assert said.startswith("the server that Prefect starts for one run does not answer (refused); run the same command")


def test_module_can_be_run_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--help"], capture_output=True, text=True, check=True, cwd=HERE
    )
    assert "release" in done.stdout


def test_doctor_says_which_settings_are_in_force(at_released: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org")
    said = next(line for line in keel("doctor", "--project", "pets")[1].splitlines() if "settings" in line)
    assert f"KEEL_STATE {Path.cwd()}/state" in said
    assert f"KEEL_LEDGER_URL sqlite:///{Path.cwd()}/state/ledger.db" in said
    assert "HF_ENDPOINT https://mirror.example.org" in said


def test_server_that_is_away_is_named_without_its_password(at_released: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://keel:secret@127.0.0.1:9")
    code, out, error = keel("status", "--project", "pets")
    assert (code, out, "MLflow at http://127.0.0.1:9 failed" in error) == (1, "", True)
    assert "secret" not in error + keel("ui")[1] + keel("doctor", "--project", "pets")[1]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for url in ("nonsense", "postgresql+absent://keel:secret@127.0.0.1:9/keel"):
        monkeypatch.setenv("KEEL_LEDGER_URL", url)
        code, _, error = keel("status", "--project", "pets")
        assert (code, error.startswith("RegistryTrouble: the ledger at "), "secret" in error) == (1, True, False)


def test_release_that_the_disk_cannot_hold_is_not_begun(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.terminal, "ROOM", 10**18)
    assert "MB left and a release may need 1000000000000; make room" in refused()


@pytest.fixture
def small_disk(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small checkout on a disk that its release fills half way."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    monkeypatch.setattr(flows.terminal, "ROOM", 0)
    shutil.copytree(template, disk / "checkout")
    try:
        with working_in(disk / "checkout"):
            yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_disk_that_fills_up_is_named_and_the_same_command_goes_on_once_there_is_room(small_disk: Path) -> None:
    assert (
        refused() == f"the disk is full ({Path.cwd()}); what was finished is kept: make room and run the same command"
    )
    kept = Path("runs/pets/check_data/stage.json").stat().st_mtime_ns
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert keel("release", "--project", "pets")[0] == 0
    assert Path("runs/pets/check_data/stage.json").stat().st_mtime_ns == kept
