"""A change of the registry happens wholly or not at all: failed, killed, or raced."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.digests import STAMP, identity, sha256_file
from tasks.errors import Busy, DigestMismatch, RegistryTrouble
from tasks.guard import Guard
from tasks.lease import leases
from tasks.predict import score
from tasks.promote import promote
from tasks.register import register
from tasks.registry import INTENT, Registry
from tasks.settings import Settings
from tasks.summary import _about_version, in_full
from tests.small_model import write_guard

NONE = {"champion": None, "challenger": None, "previous": None}
TAGS = {"verdict": "PASS", "decision": "1", "data_version": "d"}


@pytest.fixture
def registry(tmp_path: Path, fresh_database: Path) -> Registry:
    shutil.copyfile(fresh_database, tmp_path / "mlflow.db")
    return Registry("pets", local(tmp_path))


def local(folder: Path) -> Settings:
    return Settings(folder, f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/ledger.db", (folder / "art").as_uri())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two model folders with different weights, and images with what the first says of them."""
    root = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        torch.manual_seed(seed)
        (root / str(seed)).mkdir()
        save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), root / str(seed) / "model.safetensors")
        facts = {
            "architecture": "test_resnet",
            "classes": ["cat", "dog"],
            "image_size": 32,
            "temperature": 1.5,
            "options": {},
        }
        (root / str(seed) / "model.json").write_text(json.dumps({**facts, "mean": [0.5] * 3, "std": [0.5] * 3}))
    random = np.random.default_rng(0)
    rows = []
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(root / name)
        rows.append({"image_id": name, "path": name, "sha256": sha256_file(root / name), "split": "test"})
    (root / "split").mkdir()
    pd.DataFrame(rows).to_parquet(root / "split/manifest.parquet")
    for seed in ("0", "1"):
        (root / f"predictions{seed}").mkdir()
        write_guard(root / f"guard{seed}", root / seed)
        score(root, pd.DataFrame(rows), root / seed).to_parquet(root / f"predictions{seed}/predictions.parquet")
    return [root / "0", root / "1"]


def release(registry: Registry, model: Path, judged_as: Path | None = None, decision: str = "1") -> str:
    run = registry.client.create_run(registry.experiment_id())
    root = model.parent
    predictions = root / f"predictions{(judged_as or model).name}"
    judged = (root, root / "split", predictions)
    guard = root / f"guard{model.name}"
    version = register.fn(registry, model, guard, run.info.run_id, {**TAGS, "decision": decision}, *judged)
    promote.fn(registry, version, *judged)
    return version


def test_promotion_moves_champion_and_keeps_the_old_one_as_previous(registry: Registry, models: list[Path]) -> None:
    assert release(registry, models[0]) == "1"
    assert registry.aliases() == {"champion": "1", "challenger": None, "previous": None}
    assert release(registry, models[1]) == "2"
    assert registry.aliases() == {"champion": "2", "challenger": None, "previous": "1"}
    assert registry.version_tags("2")["verdict"] == "PASS"


def test_same_model_is_registered_once_and_names_the_newest_decision_on_it(
    registry: Registry, models: list[Path]
) -> None:
    assert release(registry, models[0]) == release(registry, models[0])
    entries = len(registry.ledger.read())
    assert release(registry, models[0], decision="7") == "1"
    assert len(registry.client.search_model_versions("name='pets'")) == 1
    assert registry.version_tags("1")["decision"] == "7"
    assert [(e.kind, e.body["action"]) for e in registry.ledger.read()[entries:]] == [
        ("intent", "confirm"),
        ("done", "confirm"),
    ]


def test_later_decision_that_could_not_be_tied_leaves_the_tags_as_they_were(
    registry: Registry, models: list[Path]
) -> None:
    release(registry, models[0])

    def fail_half_way() -> None:
        with registry.alone(), registry.change("confirm", {"version": "1", "tags_before": {"decision": "1"}}):
            registry.tag("1", {"decision": "7"})
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert registry.version_tags("1")["decision"] == "1"


def test_equal_weights_with_other_class_names_are_another_model(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    release(registry, models[0])
    renamed = tmp_path / "renamed"
    shutil.copytree(models[0].parent, renamed)
    facts = json.loads((renamed / "0/model.json").read_text())
    (renamed / "0/model.json").write_text(json.dumps({**facts, "classes": ["cat", "hound"]}))
    table = renamed / "predictions0/predictions.parquet"
    pd.read_parquet(table).rename(columns={"prob_dog": "prob_hound"}).to_parquet(table)
    shutil.rmtree(renamed / "guard0")
    write_guard(renamed / "guard0", renamed / "0")
    assert release(registry, renamed / "0") == "2"
    assert registry.aliases() == {"champion": "2", "challenger": None, "previous": "1"}


def test_stamp_of_how_a_model_was_made_does_not_make_another_model(models: list[Path], tmp_path: Path) -> None:
    shutil.copytree(models[0], tmp_path / "again")
    (tmp_path / "again" / STAMP).write_text("{}")
    assert identity(tmp_path / "again") == identity(models[0])


def test_model_that_is_champion_already_must_still_answer_as_judged(registry: Registry, models: list[Path]) -> None:
    release(registry, models[0])
    with pytest.raises(RegistryTrouble, match=r"version 1 answers differently from what was judged"):
        release(registry, models[0], judged_as=models[1])


def test_registered_model_carries_the_release_that_it_came_from(registry: Registry, models: list[Path]) -> None:
    release(registry, models[0])
    folder = Path(mlflow.artifacts.download_artifacts("models:/pets@champion/artifacts/release.json"))
    said = json.loads(folder.read_text())
    guard = identity(models[0].parent / "guard0")
    assert said == {"project": "pets", "model_digest": identity(models[0]), "guard_digest": guard, **TAGS}


def test_served_version_has_the_guard_that_was_fitted_on_it(registry: Registry, models: list[Path]) -> None:
    release(registry, models[0])
    folder = Path(mlflow.artifacts.download_artifacts("models:/pets@champion"))
    assert Guard.load(folder / "artifacts/guard").facts.model == registry.version_tags("1")["model_digest"]


def test_guard_of_another_model_is_refused_and_nothing_is_registered(registry: Registry, models: list[Path]) -> None:
    root = models[0].parent
    judged = (root, root / "split", root / "predictions0")
    run = registry.client.create_run(registry.experiment_id()).info.run_id
    with pytest.raises(DigestMismatch, match=r"guard1 was fitted on model"):
        register.fn(registry, models[0], root / "guard1", run, TAGS, *judged)
    assert registry.aliases() == NONE


def test_same_model_with_another_guard_is_another_version(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    release(registry, models[0])
    stricter = tmp_path / "stricter"
    shutil.copytree(models[0].parent, stricter)
    shutil.rmtree(stricter / "guard0")
    write_guard(stricter / "guard0", stricter / "0", rate=0.2)
    assert release(registry, stricter / "0") == "2"
    assert registry.aliases() == {"champion": "2", "challenger": None, "previous": "1"}


def test_model_that_answers_differently_is_not_promoted(registry: Registry, models: list[Path]) -> None:
    release(registry, models[0])
    with pytest.raises(RegistryTrouble, match=r"version 2 answers differently from what was judged, by up to 0\."):
        release(registry, models[1], judged_as=models[0])
    assert registry.aliases() == {"champion": "1", "challenger": "2", "previous": None}
    assert registry.ledger.read("pets")[-1].kind == "undone"


def test_failed_registration_leaves_no_version(registry: Registry, models: list[Path]) -> None:
    run = registry.client.create_run(registry.experiment_id()).info.run_id

    def fill_the_disk() -> None:
        with registry.alone(), registry.change("register", {}) as change:
            registry.client.create_registered_model("pets")
            registry.client.create_model_version("pets", "file:/x", run, tags={INTENT: str(change.number)})
            registry.set_aliases({**NONE, "challenger": "1"})
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill_the_disk()
    assert registry.aliases() == NONE
    assert registry.client.search_model_versions("name='pets'") == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests_settings import local
from tasks.registry import INTENT, Registry
registry = Registry("pets", local(Path({state!r})))
with registry.alone(), registry.change("promote", {{"version": "2"}}) as change:
    for step, wanted in enumerate([
        {{"champion": "1", "challenger": "2", "previous": "1"}},
        {{"champion": "2", "challenger": "2", "previous": "1"}},
        {{"champion": "2", "challenger": None, "previous": "1"}},
    ]):
        if step == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        registry.set_aliases(wanted)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_kill_at_any_step_of_a_move_is_repaired_to_the_old_state(
    registry: Registry, models: list[Path], tmp_path: Path, step: int
) -> None:
    release(registry, models[0])
    run = registry.client.create_run(registry.experiment_id()).info.run_id
    root = models[1].parent
    register.fn(registry, models[1], root / "guard1", run, TAGS, root, root / "split", root / "predictions1")
    before = registry.aliases()
    settings = Path(__file__).read_text().split("def local(")[1].split("\n\n\n")[0]
    (tmp_path / "tests_settings.py").write_text(
        f"from pathlib import Path\nfrom tasks.settings import Settings\ndef local({settings}\n"
    )
    script = KILLED.format(root=str(tmp_path), state=str(tmp_path), step=step)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert registry.repair_if_free()
    assert registry.aliases() == before
    assert registry.ledger.open_intents("pets") == []
    assert list(registry.ledger.faults()) == []


def elsewhere(registry: Registry, folder: Path) -> Registry:
    """The same servers, seen from another machine's checkout."""
    folder.mkdir()
    return Registry("pets", replace(registry.chosen, state=folder))


def test_another_machine_lets_a_live_change_be(registry: Registry, models: list[Path], tmp_path: Path) -> None:
    other = elsewhere(registry, tmp_path / "other")
    run = registry.client.create_run(registry.experiment_id()).info.run_id
    with registry.alone(), registry.change("register", {}) as change:
        registry.client.create_registered_model("pets")
        registry.client.create_model_version("pets", "file:/x", run, tags={INTENT: str(change.number)})
        registry.set_aliases({**NONE, "challenger": "1"})
        assert not other.repair_if_free()
        assert other.aliases() == {**NONE, "challenger": "1"}
    assert other.repair_if_free()
    assert registry.aliases() == {**NONE, "challenger": "1"}
    assert [e.kind for e in registry.ledger.read("pets")] == ["intent", "done"]


def test_change_that_another_machine_undid_cannot_be_finished(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    other = elsewhere(registry, tmp_path / "other")
    release(registry, models[0])

    def sleep_in_the_middle() -> None:
        with registry.alone(), registry.change("promote", {"version": "1"}):
            with registry.ledger.writing(leases) as connection:
                connection.execute(leases.update().values(lapses=0.0))  # as after a night with the lid shut
            assert other.repair_if_free()

    with pytest.raises(Busy, match=r"lost its hold on pets\.registry"):
        sleep_in_the_middle()
    assert registry.aliases() == {**NONE, "champion": "1"}
    assert registry.ledger.open_intents("pets") == []
    assert [e.kind for e in registry.ledger.read("pets")][-2:] == ["intent", "undone"]


def test_change_begun_on_aliases_that_another_machine_has_moved_since_is_refused(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    # Its intent would name the aliases of before that move, and its repair would undo the move.
    other = elsewhere(registry, tmp_path / "other")
    release(registry, models[0])
    aliases = registry.aliases

    def aliases_then_sleep() -> dict[str, str | None]:
        found = aliases()
        with registry.ledger.writing(leases) as connection:
            connection.execute(leases.update().values(lapses=0.0))
        with other.alone(), other.change("promote", {"version": "1"}):
            other.set_aliases({**NONE, "champion": "1", "previous": "1"})
        return found

    registry.aliases = aliases_then_sleep  # type: ignore[method-assign]
    with (
        pytest.raises(Busy, match=r"lost its hold on pets\.registry"),
        registry.alone(),
        registry.change("promote", {"version": "1"}),
    ):
        pass
    assert other.repair_if_free()
    assert other.aliases() == {**NONE, "champion": "1", "previous": "1"}
    assert other.ledger.open_intents("pets") == []


def test_experiment_deleted_by_hand_is_named_with_the_way_back(registry: Registry) -> None:
    number = registry.experiment_id()
    registry.client.delete_experiment(number)
    with pytest.raises(RegistryTrouble, match=rf"keel/pets was deleted.*experiments restore --experiment-id {number}"):
        registry.experiment_id()
    registry.client.restore_experiment(number)
    assert registry.experiment_id() == number


def test_version_that_somebody_registered_by_hand_is_shown_as_unjudged(registry: Registry) -> None:
    # Fails when tasks/summary.py reads the tags of a release without asking whether they are there.
    registry.client.create_registered_model(registry.project)
    registry.client.create_model_version(registry.project, "file:///somewhere", tags={"made": "by hand"})
    registry.client.set_registered_model_alias(registry.project, "champion", "1")
    assert "version 1, which no release of this project made: nothing was judged" in _about_version(registry, "1")
    assert "made: by hand" in in_full(registry, "champion")


def test_unreachable_server_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Settings(tmp_path, "http://127.0.0.1:9", f"sqlite:///{tmp_path}/ledger.db", None)
    with pytest.raises(RegistryTrouble, match=r"MLflow at http://127.0.0.1:9 failed: .*nothing was left half done"):
        Registry("pets", away)


def test_logged_model_scores_image_bytes_in_a_plain_mlflow_client(registry: Registry, models: list[Path]) -> None:
    release(registry, models[0])
    script = (
        "import mlflow, pandas as pd, sys\n"
        f"mlflow.set_tracking_uri({registry.chosen.tracking_uri!r})\n"
        "model = mlflow.pyfunc.load_model('models:/pets@champion')\n"
        f"answer = model.predict(pd.DataFrame({{'image': [open({str(models[0].parent / 'a.png')!r}, 'rb').read()]}}))\n"
        "assert 'prefect' not in sys.modules and 'lightning' not in sys.modules\n"
        "print(answer['label'][0], answer['prob_cat'][0] + answer['prob_dog'][0])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, total = done.stdout.split()
    assert label in ("cat", "dog")
    assert float(total) == pytest.approx(1)
