"""A project whose versions nobody trained: random models, really registered, decided on, promoted and on record.

The decisions are as complete as an audit asks, so that what a rollback leaves behind can be audited in seconds.
"""

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import torch

from tasks.bundle import BUNDLE, NEEDED, OPTIONAL
from tasks.cases import read_cases
from tasks.decision import version_tags, what_was_done, write_decision
from tasks.digests import sha256_file
from tasks.ledger import Entry
from tasks.predict import score
from tasks.predict_cases import answer_cases
from tasks.promote import promote
from tasks.register import register
from tasks.registry import INTENT, Registry
from tasks.scorer import WEIGHTS
from tasks.settings import Settings
from tests.small_checkout import HERE
from tests.small_model import write_model, write_pictures

PROJECT = "pets"
ACTS = ("approve", "waive_warn", "waive_block", "accept_risk", "skip_rollout")
ROLES = f"people: []\nmay: {{{', '.join(f'{act}: [steward]' for act in ACTS)}}}\n"


def local(folder: Path) -> Settings:
    """Everything below one folder."""
    return Settings(folder, f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/ledger.db", (folder / "art").as_uri())


def prepare_project(root: Path) -> Path:
    """A working folder, which is its own state folder, of a project with three versions that were champion in turn."""
    write_ground(root / "ground")
    (root / "governance/projects").mkdir(parents=True)
    (root / "governance/roles.yaml").write_text(ROLES)
    (root / "governance/projects/pets.yaml").write_text("name: pets\ndata: ground/data\ncases: ground/cases\n")
    shutil.copy(HERE / "governance/plan.yaml", root / "governance/plan.yaml")
    (root / "params.yaml").write_text("")
    torch.set_num_threads(1)  # a process that is forked later must not wait for threads that were not forked with it
    registry = Registry(PROJECT, local(root))
    with contextlib.chdir(root):
        for seed in range(3):
            accept(registry, root / "ground", seed)
    return root


def copy_project(root: Path, copy: Path) -> Path:
    """Databases, rules, records and cases; models stay where they are, here and in MLflow, and are only read."""
    copy.mkdir()
    for name in ("mlflow.db", "ledger.db", "params.yaml"):
        shutil.copyfile(root / name, copy / name)
    shutil.copytree(root / "governance", copy / "governance")
    shutil.copytree(root / "ground/cases", copy / "ground/cases")
    for place in (root / "ground").iterdir():
        if place.name != "cases":
            (copy / "ground" / place.name).symlink_to(place)
    return copy


def write_ground(root: Path, models: int = 3) -> Path:
    """Below `root`: data, split, and for each model its folder and predictions; cases that the second reads right."""
    table = write_pictures(root / "data", 24).rename(columns={"file_name": "path"})
    table = table.assign(image_id=table["path"], split=["train", "test"] * 12, unit=table["path"])
    (root / "split").mkdir()
    table.to_parquet(root / "split/manifest.parquet", index=False)
    tested = table[table["split"] == "test"].reset_index(drop=True)
    for seed in range(models):
        model = write_model(root / f"model{seed}", seed)
        (root / f"predictions{seed}").mkdir()
        score(root / "data", tested, model).to_parquet(root / f"predictions{seed}/predictions.parquet", index=False)
    write_cases(root, root / "model1")
    return root


def write_cases(root: Path, model: Path) -> None:
    """Two pictures, labelled as the model reads them."""
    drawn = write_pictures(root / "cases", 2, seed=9).rename(columns={"file_name": "path"})
    labels = score(root / "cases", drawn.assign(image_id=drawn["path"]), model)["predicted"]
    rows = [f"{path},{label},2026-01-01,drawn,for the test" for path, label in zip(drawn["path"], labels, strict=True)]
    lines = ["file_name,label,added,provenance,why", *rows]
    (root / "cases/cases.csv").write_text("\n".join(lines) + "\n")


def accept(registry: Registry, root: Path, seed: int, cases: Path | None = None, verdict: str = "PASS") -> str:
    """Decide, register and promote the model of that seed; the version."""
    decision = decide(registry, root, seed, cases or root / "cases", verdict)
    judged = (root / "data", root / "split", root / f"predictions{seed}")
    model = root / f"model{seed}"
    version = register.fn(registry, model, decision.body["run"], version_tags(decision), *judged)
    if verdict == "PASS":
        promote.fn(registry, version, *judged)
    publish(registry)
    return version


def decide(
    registry: Registry, root: Path, seed: int, cases: Path, verdict: str = "PASS", manifest: str = "as drawn"
) -> Entry:
    """A decision on the model with all that is on record of one, its evidence beside its MLflow run."""
    with registry.alone(), registry.change("record", {}) as change, evidence_of(root, seed, cases, manifest) as files:
        tags = {INTENT: str(change.number), "data_version": "d" * 32, "verdict": verdict}
        run = registry.client.create_run(registry.experiment_id(), tags=tags).info.run_id
        with mlflow.start_run(run_id=run, log_system_metrics=False):
            for name, file in files.items():
                mlflow.log_artifact(str(file), str(Path(name).parent))
        digests = {key: sha256_file(files[name]) for key, name in NEEDED.items() if key not in OPTIONAL}
        digests |= dict.fromkeys(("parameters", "project", "catalogue"), "r" * 64)
        digests["model"] = sha256_file(root / f"model{seed}" / WEIGHTS)
        return change.close("decision", body_of(verdict, digests, run))


@contextmanager
def evidence_of(root: Path, seed: int, cases: Path, manifest: str) -> Iterator[dict[str, Path]]:
    """Every artifact that a record has: the answers to the cases, and words in place of the other tables."""
    with TemporaryDirectory() as folder:
        files = {}
        for key, name in NEEDED.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('{"files": {}}' if name == BUNDLE else f"{key} of {seed}, {manifest}\n")
            files[name] = file
        answered = answer_cases(cases, read_cases(cases), root / f"model{seed}")
        answered.to_parquet(files[NEEDED["cases"]], index=False)
        yield files


def body_of(verdict: str, digests: dict[str, str], run: str) -> dict[str, Any]:
    """The body of a decision."""
    return {
        "verdict": verdict,
        "sentence": f"{verdict}: as drawn",
        "criteria": [],
        "evidence": digests,
        "recorded_for": {
            "verdict": digests["verdict"],
            "comparison": digests["comparison_verdict"],
            "latency": digests["latency_verdict"],
        },
        "plan": {"version": 1, "owner": "nobody", "criteria": {}},
        "data": {"digest": "d" * 32, "sentence": "drawn", "versioned": False, "dirty": False, "images": {"test": 12}},
        "code": {"digest": "c", "commit": "none", "changed": "none", "environment": "e"},
        "model": {"architecture": "test_resnet", "backbone": "none", "rate": 0.1, "temperature": 1.5, "seed": 0},
        "backbone": {"name": "none", "sentence": "drawn", "reasons": []},
        "risks": [],
        "approval": "none asked for by the plan",
        "by": "nobody",
        "run": run,
    }


def publish(registry: Registry) -> None:
    """Write the records of all decisions as they stand, below the working folder."""
    entries = registry.ledger.read(registry.project)
    for decision in (e for e in entries if e.kind == "decision"):
        write_decision(decision, what_was_done(decision, entries))
