"""How fast Keel fine-tunes beside fastai, Hugging Face Trainer, Lightning and a plain timm loop, and how well.

    pip install -r benchmarks/requirements.txt -c constraints.txt
    python -m benchmarks.finetune [DATA] [--quick] [--seeds 3] [--only ENGINE,...] [--memory] [--resume]

DATA is a folder with `metadata.csv` (file_name, label, subject) and images; the bundled digits where none is named. The
figures in the README are of the 2,062 photographs of Mavi, "A New Dataset and Proposed Convolutional Neural Network
Architecture for Classification of American Sign Language Digits" (arXiv:2011.08927, 2020).

All start from the bundled backbone, at 64 pixels, in batches of 32, on the same training images; subjects are in
training, validation or test, never in two. The validation subjects are the same for every seed, the test subjects
others each time. Each run is a process of its own; the engines take turns within each seed. The clock runs from the
files on disk to a network that is ready to predict (see benchmarks/peers/run.py). How each engine is set up, and why,
is in benchmarks/peers/settings.yaml.

Each run is a line of `--runs`, written when it ends; `--resume` keeps those that were made with the same settings on
the same images (to measure one engine again, delete its lines). Prints the table, draws docs/finetune-benchmark.png,
and exits 0 only when every bar holds. About an hour with three seeds; `--quick` (one seed, the two fastest peers,
20,000 images for the memory) under ten minutes. Both sets of bars are in benchmarks/peers/verdict.py.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from benchmarks.peers.job import Job, Photos
from benchmarks.peers.verdict import FULL, NAMES, OURS, QUICK, Run, judge, plot, table
from tasks.digests import sha256_file

SETTINGS = Path(__file__).parent / "peers/settings.yaml"
CATALOGUE, BACKBONE = Path("governance/backbones.yaml"), "formula-test-resnet"
RUNS, PLOT = Path("runs/benchmark-finetune.jsonl"), Path("docs/finetune-benchmark.png")
QUICK_PEERS = ("timm", "huggingface")  # the fastest
PROGRAMS = {"loop": "keel_loop", "memory": "keel_memory"}  # all other parts: run
LONGEST_S = 3600
LONGER = 3  # times the epochs of a frozen phase: the difference of two runs is what each further epoch costs


class Task(NamedTuple):
    """One run to be made."""

    part: str
    engine: str
    seed: int


def main() -> int:
    """Run what is asked for, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--quick", action="store_true", help="under ten minutes, wider bars")
    parser.add_argument("--seeds", type=int, help="3 where not given, 1 with --quick")
    parser.add_argument("--only", default="", help=f"engines with commas between: {','.join(NAMES)}")
    parser.add_argument("--memory", action="store_true", help="the memory alone, and judge nothing else")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the file has")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of results")
    asked = parser.parse_args()
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    photos = read_photos(asked.data)
    engines = chosen_engines(asked.only, asked.quick)
    seeds = asked.seeds or (1 if asked.quick else 3)
    tasks = [Task("memory", OURS, 0)] if asked.memory else list(plan(engines, seeds))
    runs = run_all(tasks, asked, settings, photos)
    if asked.memory:
        judgements = judge(runs, QUICK if asked.quick else FULL, {})[-1:]
    else:
        print("\n" + table(runs) + "\n")
        plot(runs, PLOT)
        tested = {seed: photos.loc[split(photos, seed, settings["data"])["test"]] for seed in range(seeds)}
        judgements = judge(runs, QUICK if asked.quick else FULL, tested)
    for judgement in judgements:
        print(f"{'PASS' if judgement.held else 'FAIL'}  {judgement.sentence}")
    return 0 if all(judgement.held for judgement in judgements) else 1


def chosen_engines(only: str, quick: bool) -> list[str]:
    """The engines to run, Keel first."""
    names = only.split(",") if only else [OURS, *QUICK_PEERS] if quick else list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise SystemExit(f"--only: no engine {unknown[0]!r}; there are {', '.join(NAMES)}")
    return names


def plan(engines: list[str], seeds: int) -> Iterator[Task]:
    """Each seed's parts, the engines in turn within a part, another one first each time; the memory last."""
    for seed in range(seeds):
        for part in ("same", "own", "head"):
            first = seed % len(engines)
            yield from (Task(part, engine, seed) for engine in engines[first:] + engines[:first])
        if OURS in engines:
            yield from (Task(part, OURS, seed) for part in ("head+", "stage", "stage+", "loop"))
    if OURS in engines:
        yield Task("memory", OURS, 0)


def read_photos(root: Path) -> pd.DataFrame:
    """The rows of metadata.csv, with the digest of each file; reading them all also warms the disk for everybody."""
    file = root / "metadata.csv"
    if not file.is_file():
        raise SystemExit(f"{file} is not there; name a folder of images, or run `dvc pull` for the bundled ones")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    missing = {"file_name", "label", "subject"} - set(table.columns)
    if missing:
        raise SystemExit(f"{file} has no column {', '.join(sorted(missing))}")
    return table.assign(sha256=[sha256_file(root / name) for name in table["file_name"]])


def split(photos: pd.DataFrame, seed: int, shares: dict[str, Any]) -> dict[str, np.ndarray]:
    """Row labels of train, validation and test: whole subjects, as near to the shares as subjects allow from below.

    Subjects stand in one shuffled order. Validation is its beginning; of the rest, turned by one test set for each
    seed, the beginning trains and what is left tests. So the test sets of the first few seeds share no subject.
    """
    sizes = photos["subject"].value_counts()
    subjects = np.random.default_rng(shares["order"]).permutation(np.sort(photos["subject"].unique()))
    validation, rest = take(subjects, sizes, shares["validation"] * len(photos))
    _, left = take(rest, sizes, shares["train"] * len(photos))
    train, test = take(np.roll(rest, seed * len(left)), sizes, shares["train"] * len(photos))
    parts = {"train": train, "validation": validation, "test": test}
    empty = [name for name, chosen in parts.items() if not len(chosen)]
    if empty:
        raise SystemExit(f"{len(subjects)} subjects are too few: none is left for {empty[0]}")
    return {name: photos.index[photos["subject"].isin(chosen)].to_numpy() for name, chosen in parts.items()}


def take(subjects: np.ndarray, sizes: pd.Series, most: float) -> tuple[np.ndarray, np.ndarray]:
    """As many of the first subjects as have at most so many images, and the others."""
    count = int((np.cumsum(sizes[subjects].to_numpy()) <= most).sum())
    return subjects[:count], subjects[count:]


def run_all(tasks: list[Task], asked: argparse.Namespace, settings: dict[str, Any], photos: pd.DataFrame) -> list[Run]:
    """Make every run that is asked for, each a line of the file; with `--resume` only those that it does not have."""
    jobs = {task: make_job(task, asked.data, asked.quick, settings, photos) for task in tasks}
    done = {task: run for task, run in read_runs(asked.runs).items() if asked.resume or task not in jobs}
    done = {task: run for task, run in done.items() if task not in jobs or run.get("job") == digest(jobs[task])}
    asked.runs.parent.mkdir(parents=True, exist_ok=True)
    asked.runs.write_text("".join(json.dumps(run) + "\n" for run in done.values()), encoding="utf-8")
    for number, (task, job) in enumerate(jobs.items(), 1):
        if task in done:
            continue
        began = time.perf_counter()
        epochs = sum(phase["epochs"] for phase in job.phases)
        run = {**task._asdict(), "job": digest(job), "epochs": epochs, **in_a_process(job, task.part)}
        done[task] = run
        with asked.runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        figures = {k: round(v, 4) for k, v in run.items() if isinstance(v, float)}
        print(f"{number:3}/{len(tasks)}  {task.part:7}{task.engine:12} seed {task.seed}  {figures}", end="")
        print(f"  ({time.perf_counter() - began:.0f} s with imports)", flush=True)
    return [done[task] for task in tasks]


def read_runs(path: Path) -> dict[Task, Run]:
    """The runs of an earlier time; a last line that was cut short is no run."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            run = json.loads(line)
            found[Task(run["part"], run["engine"], run["seed"])] = run
    return found


def digest(job: Job) -> str:
    """What tells a run of these settings on these images from any other."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(job)).encode()).hexdigest()


def make_job(task: Task, root: Path, quick: bool, settings: dict[str, Any], photos: pd.DataFrame) -> Job:
    """Everything that one run's process needs to know."""
    shared, own = settings["shared"], settings[task.engine]
    passport = next(e for e in yaml.safe_load(CATALOGUE.read_text())["backbones"] if e["name"] == BACKBONE)
    classes = sorted(photos["label"].unique())
    parts = {}
    for name, places in split(photos, task.seed, settings["data"]).items():
        rows = photos.loc[places]
        targets = [classes.index(label) for label in rows["label"]]
        parts[name] = Photos(list(rows["file_name"]), targets, list(rows["sha256"]))
    return Job(
        engine=task.engine,
        root=str(root),
        **parts,
        classes=len(classes),
        architecture=passport["architecture"],
        weights=passport["weights"]["file"],
        mean=passport["mean"],
        std=passport["std"],
        seed=task.seed,
        phases=phases(task, quick, settings),
        options=options(task, quick, own),
        **{key: own[key] for key in ("rate", "threads", "workers", "precision", "channels_last")},
        **{k: shared[k] for k in ("image_size", "batch_size", "augmentation", "label_smoothing", "weight_decay")},
    )


def phases(task: Task, quick: bool, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What is open for how many epochs in a part."""
    shared, own = settings["shared"], settings[task.engine]
    frozen = shared["quick_frozen_epochs" if quick else "frozen_epochs"]
    rate = {"rate": 1.0} if task.engine == OURS else {}
    return {
        "same": own.get("same", shared["same"]),
        "own": own["own"],
        "head": [{"open": "head", "epochs": frozen, **rate}],
        "head+": [{"open": "head", "epochs": LONGER * frozen, **rate}],
        "stage": [{"open": 1, "epochs": frozen, **rate}],
        "stage+": [{"open": 1, "epochs": LONGER * frozen, **rate}],
        "loop": [{"open": "all", "epochs": 1, **rate}],
        "memory": [{"open": what, "epochs": 1, **rate} for what in ("head", 1, "all")],
    }[task.part]


def options(task: Task, quick: bool, own: dict[str, Any]) -> dict[str, Any]:
    """What only this engine, or only this part, knows."""
    if task.part != "memory":
        return dict(own["options"])
    memory = own["memory"]["quick" if quick else "full"]
    return {**own["options"], **memory["options"], "images": memory["images"], "budget_mb": memory["budget_mb"]}


def in_a_process(job: Job, part: str) -> Run:
    """What the run's own process reports; its threads are set before it starts, and it finds no state of others."""
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        ask, answer = Path(folder, "job.json"), Path(folder, "result.json")
        ask.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        command = [sys.executable, "-m", f"benchmarks.peers.{PROGRAMS.get(part, 'run')}", str(ask), str(answer)]
        environment = os.environ | {"OMP_NUM_THREADS": str(job.threads), "KEEL_STATE": str(Path(folder, "state"))}
        ended = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_S,
            check=False,  # what it said is shown below
        )
        if ended.returncode or not answer.is_file():
            raise SystemExit(f"\n{job.engine} ({part}, seed {job.seed}) ended with {ended.returncode}:\n{ended.stdout}")
        return json.loads(answer.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
