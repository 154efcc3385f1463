"""`keel serve` as it is while a rollout is in shadow, with a challenger that misbehaves: for benchmarks/serve.py.

    python -m benchmarks.rude_shadow sleeper digits 8000

The registry is read and left alone: the challenger is the champion's twin on the way in, and in the process off the
path one of tests/rude_models.py. That process has a gigabyte, and two seconds for a batch, so that a hanging one is
replaced again and again while the load lasts.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from service.live import Follower, Live
from tasks.rollout import Standing

SECONDS, MEMORY_MB = 2, 1024


class InShadow(Follower):
    """Follows the registry, and adds the rollout to what it says."""

    def _read(self, now: Live | None) -> Live:
        if now is not None:
            return now
        read = super()._read(None)
        version = read.champion.version
        shadow = Standing("shadow", "shadow", 0.0, "salt", read.since.isoformat(), version, version, 1, 1)
        return replace(read, rollout=shadow, challenger=read.champion)


def main(kind: str, project: str, port: int) -> None:
    """Serve."""
    from flows.common import knobs
    from service import serve
    from tasks.params import CheckDataParams
    from tasks.project import load_project
    from tasks.serving_rules import load_serving
    from tasks.settings import prepare_environment
    from tests import rude_models

    chosen = prepare_environment()
    about = load_project(Path("governance/projects") / f"{project}.yaml")
    rules = load_serving(about.serving)
    rules = rules.model_copy(
        update={"off_path": rules.off_path.model_copy(update={"seconds": SECONDS, "memory_mb": MEMORY_MB})}
    )
    serve.Follower = InShadow  # type: ignore[misc]
    serve.load_aside = getattr(rude_models, kind)
    serve.serve(about, knobs(CheckDataParams, about), rules, chosen, port=port)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
