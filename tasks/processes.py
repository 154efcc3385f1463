"""Training in several processes: torch's launcher starts them, and Lightning finds itself among them.

Each process takes its share of every batch and all average their gradients, so that the result is that of one process
at the same total batch, up to rounding. Networks with BatchNorm are the exception on CPUs: there each process
normalises by its own share, since torch synchronises BatchNorm on GPUs alone.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks.errors import BadInput

SPECIFICATION = "processes.json"
SAID = re.compile(r"(\[rank\d+\]: )?[A-Za-z_.]+: \S")  # the last line of a traceback, or an error of ours


def is_launched() -> bool:
    """Whether this process is one of several that `launch` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Which of the processes this is; the first, 0, writes for all."""
    return int(os.environ.get("RANK", "0"))


def launch(count: int, specification: dict[str, Any], folder: Path) -> None:
    """Run `python -m tasks finetune_in_processes` in `count` processes; what it needs is written into `folder`."""
    file = folder / SPECIFICATION
    file.write_text(json.dumps(specification), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    ours = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, "-m", "tasks", "finetune_in_processes", f"specification={file}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", **ours},
        capture_output=True,
        text=True,
        check=False,
    )
    file.unlink()
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if SAID.match(line) and "torch.distributed" not in line]
        why = said[0].partition("]: ")[2] or said[0] if said else done.stderr[-500:]
        raise BadInput(
            f"training in {count} processes (finetune.trainer.devices) failed: {why}; set devices: 1 to train in one"
        )
