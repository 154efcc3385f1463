"""Fixtures that several test modules share."""

import io
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tasks.params import CheckDataParams
from tasks.settings import QUIET

if TYPE_CHECKING:
    from flows.release import Released
    from tasks.registry import Registry

Drawn = Image.Image | bytes
REPOSITORY = Path(__file__).parent.parent
for key in [name for name in os.environ if name.startswith("KEEL_")]:  # nobody's own state is touched by a test
    del os.environ[key]
for key, value in {**QUIET, "OMP_NUM_THREADS": "1"}.items():  # small networks: a second thread only stands in the way
    os.environ.setdefault(key, value)  # before any library that reads them is imported


@pytest.fixture(scope="session")
def check_data_params() -> CheckDataParams:
    return CheckDataParams(
        min_images=12,
        min_classes=2,
        min_images_per_class=4,
        min_window_images=3,
        min_side=16,
        max_side=200,
        modes=["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I"],
        min_brightness=5,
        max_brightness=250,
        min_contrast=5,
        min_sharpness=1,
        max_sharpness=100_000,
        consents=["given"],
        licences=["CC0-1.0"],
        require_consent=False,
        require_licence=False,
    )


def draw(seed: int, side: int = 24) -> Image.Image:
    """A grey picture with an ink blot of its own, different for each seed."""
    random = np.random.default_rng(seed)
    paper = random.normal(200, 6, (side, side))
    row, column = random.integers(2, side // 2, 2)
    paper[row : row + 8, column : column + 5] = 40
    return Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write an image folder below tmp_path: six images of each class "a" and "b", and what the test adds to them."""

    def write(more: Mapping[str, tuple[str, Drawn]] | None = None, name: str = "data", sound: int = 6) -> Path:
        files: dict[str, tuple[str, Drawn]] = {}
        for number in range(sound * 2):
            files[f"images/{number:02d}.png"] = ("ab"[number % 2], draw(number))
        lines = ["file_name,label"]
        for path, (label, drawn) in {**files, **(more or {})}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(drawn if isinstance(drawn, bytes) else encode(drawn))
            lines.append(f"{path},{label}")
        (tmp_path / name / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is kept between runs, of this test alone."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One server for all modules that run flows: it takes ten seconds to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it, to copy: its tables take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture(scope="session")
def template(fresh_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkout with the project `pets` and an empty registry, to copy and never to change."""
    from tests.small_checkout import write_checkout

    write_checkout(root := tmp_path_factory.mktemp("template"))
    (root / "state").mkdir()
    shutil.copy(fresh_database, root / "state")
    return root


@pytest.fixture(scope="session")
def released(template: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> "tuple[Path, Released]":
    """The template after one release, and what that said: to look at, to copy, and never to change.

    The processes of one test run share it: it takes them twenty seconds to make.
    """
    from flows.release import release
    from tests.small_checkout import working_in

    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "released"
    root, said = place / "checkout", place / "released.pickle"
    with FileLock(place.with_suffix(".lock"), timeout=300):
        if not said.is_file():
            shutil.rmtree(place, ignore_errors=True)  # what a test process left that was killed
            shutil.copytree(template, root)
            with working_in(root):
                said.write_bytes(pickle.dumps(release(project="pets")))
        return root, pickle.loads(said.read_bytes())


@pytest.fixture(scope="session")
def learnt(template: Path, released: "tuple[Path, Released]", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages of that release made, with nothing registered and nothing on record: to copy."""
    root = tmp_path_factory.mktemp("learnt") / "checkout"
    shutil.copytree(released[0], root, ignore=shutil.ignore_patterns("state", "decisions"))
    shutil.copytree(template / "state", root / "state")
    return root


@pytest.fixture(scope="session")
def three_versions(fresh_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three accepted versions, to copy (tests/accepted_versions.py) and never to change."""
    from tests.accepted_versions import prepare_project

    root = tmp_path_factory.mktemp("accepted")
    shutil.copy(fresh_database, root)
    return prepare_project(root)


@pytest.fixture
def in_use(three_versions: Path, tmp_path: Path) -> "Iterator[Registry]":
    """The registry of a copy of that project, whose folder is the working folder; version 3 is champion."""
    from tasks.registry import Registry
    from tests.accepted_versions import PROJECT, copy_project, local
    from tests.small_checkout import working_in

    with working_in(copy_project(three_versions, tmp_path / "pets")):
        os.environ["KEEL_STATE"] = str(tmp_path / "pets")
        yield Registry(PROJECT, local(tmp_path / "pets"))


@pytest.fixture
def checkout(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the small checkout, as the working folder."""
    from tests.small_checkout import working_in

    shutil.copytree(template, tmp_path / "checkout")
    with working_in(tmp_path / "checkout"):
        yield Path()
