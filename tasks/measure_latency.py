"""Time a model on this machine: how long an answer takes, a batch, a start from nothing, and how much memory.

No stage of dvc.yaml, for no two timings are alike. The same model is not timed again on the same hardware: that is part
of what the stage was made from. tasks/latency.py makes findings of what is written here.
"""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from tasks import timed_process
from tasks.digests import STAMP, TASKS
from tasks.errors import BadInput
from tasks.findings import TIMINGS
from tasks.params import MeasureLatencyParams
from tasks.stage import stage

SPECIFICATION = "specification.json"
logger = logging.getLogger("tasks.measure_latency")


@stage
def measure_latency(
    data: Path,
    manifest: Path,
    model: Path,
    hardware: dict[str, Any],
    params: MeasureLatencyParams,
    asked: bool,
    out: Path,
) -> None:
    """Write timings.json: hardware, parameters, size on disk, and all single times, in milliseconds, by block.

    `asked` is whether the plan has criteria of latency; where not, nothing is timed, and the file says so.
    """
    document: dict[str, Any] = {"why_not": None if asked else "the plan asks nothing of latency"}
    if asked:
        table = pd.read_parquet(manifest / "manifest.parquet").query("split == 'test'").head(params.images)
        files = [str((data / path).absolute()) for path in table["path"]]
        size = sum(p.stat().st_size for p in model.rglob("*") if p.is_file() and p.name != STAMP) / 1e6
        told = time_in_fresh_process(model, files, params, out)
        document |= {"hardware": hardware, "params": params.model_dump(), "model_size_mb": round(size, 6), **told}
        logger.info("timed %d single images and %d batches", params.singles, params.batches)
    (out / TIMINGS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def time_in_fresh_process(model: Path, files: list[str], params: MeasureLatencyParams, folder: Path) -> dict[str, Any]:
    """What tasks/timed_process.py says; its specification lies in `folder` meanwhile."""
    file = folder / SPECIFICATION
    asked = {
        "model": str(model.absolute()),
        "images": files,
        "threads": params.threads,
        "batch_size": params.batch_size,
        "blocks": params.blocks,
        "singles_per_block": params.singles // params.blocks,
        "batches_per_block": params.batches // params.blocks,
        "started": time.monotonic(),
    }
    file.write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", timed_process.__name__, str(file.absolute())],
        env={**os.environ, "PYTHONPATH": str(TASKS.parent)},
        cwd=TASKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadInput(f"the process that was to be timed on {model} failed: {said}")
    answer = file.with_suffix(".out")
    told: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    file.unlink()
    answer.unlink()
    return told
