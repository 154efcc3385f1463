"""Judge a report by the plan: writes verdict.json, which promotion, the model card and the ledger read."""

import logging
from pathlib import Path

from tasks.digests import sha256_file
from tasks.errors import DigestMismatch
from tasks.gate import judge_folder
from tasks.project import load_project
from tasks.stage import project_keys, stage
from tasks.verdict import VERDICT, write_verdict

logger = logging.getLogger("tasks.judge")


@stage
@project_keys("not_applicable")
def judge(report: Path, plan: Path, project: Path, model: Path, out: Path) -> None:
    """Write the verdict on the model folder `model`, whose weights must be the ones that the report measured.

    A verdict of FAIL is a result like any other, and no error: the flow decides what follows from it.
    """
    verdict = judge_folder(report, plan, load_project(project).not_applicable)
    measured, weights = verdict.digests["model"], sha256_file(model / "model.safetensors")
    if measured != weights:
        raise DigestMismatch(
            f"{report} measured the weights {measured[:12]}, but {model} holds {weights[:12]}; "
            "run predict and evaluate for this model"
        )
    for judgement in verdict.judgements:
        logger.info("%s", judgement.sentence, extra={"detail": True})
    logger.info("%s", verdict.sentence)
    write_verdict(verdict, out / VERDICT)
