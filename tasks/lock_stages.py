"""Tell DVC that the flow ran its stages: dvc.lock then holds what `dvc repro` would have written, and repro rests."""

import logging
from pathlib import Path

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

logger = logging.getLogger("tasks.lock_stages")


def stages_of(project: str, pipeline: Path = Path("dvc.yaml")) -> list[str]:
    """The stages of `pipeline` that write under runs/<project>/."""
    stages = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"]
    return [name for name, stage in stages.items() if f"out=runs/{project}/" in stage["cmd"]]


@task(cache_policy=NO_CACHE)
def lock_stages(project: str, pipeline: Path = Path("dvc.yaml")) -> None:
    """Commit to DVC those stages of `pipeline` that write under runs/<project>/ and have changed; may be none."""
    names = stages_of(project, pipeline)
    if not names or not Path(".dvc").is_dir():
        return
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it says of every stage that it writes one file
    with Repo() as repo:
        changed = [name for name in names if repo.status([name])]
        for name in changed:
            repo.commit(name, force=True)
    logger.info("dvc.lock: %s", f"recorded {', '.join(changed)}" if changed else "up to date")
