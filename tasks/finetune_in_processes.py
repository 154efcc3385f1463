"""One of the processes that train together: tasks/processes.py starts them, with a file that says what to train."""

import json
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.finetune import train_model
from tasks.params import FinetuneParams


@task(cache_policy=NO_CACHE)
def finetune_in_processes(specification: Path) -> None:
    """Train as the file says: the same call of `train_model` in every process."""
    asked = json.loads(specification.read_text(encoding="utf-8"))
    weights = Path(asked["weights"]) if asked["weights"] else None
    params = FinetuneParams.model_validate(asked["params"])
    data, manifest, backbone, out = (Path(asked[name]) for name in ("data", "manifest", "backbone", "out"))
    train_model(data, manifest, backbone, weights, params, out)
