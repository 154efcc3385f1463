"""Judge a report by the plan: writes verdict.json, which promotion, the model card and the ledger read."""

import dataclasses
import json
import logging
from pathlib import Path

from tasks.digests import sha256_file
from tasks.errors import DigestMismatch, EvidenceMissing
from tasks.findings import REPORT, read_findings
from tasks.gate import judge_report
from tasks.plan import load_plan
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
    evidence = read_evidence(report)
    weights = sha256_file(model / "model.safetensors")
    if evidence["model"] != weights:
        raise DigestMismatch(
            f"{report} measured the weights {evidence['model'][:12]}, but {model} holds {weights[:12]}; "
            "run predict and evaluate for this model"
        )
    verdict = judge_report(read_findings(report), load_plan(plan), load_project(project).not_applicable)
    digests = evidence | {"plan": sha256_file(plan), "report": sha256_file(report / REPORT)}
    for judgement in verdict.judgements:
        logger.info("%s", judgement.sentence, extra={"detail": True})
    logger.info("%s", verdict.sentence)
    write_verdict(dataclasses.replace(verdict, digests=dict(sorted(digests.items()))), out / VERDICT)


def read_evidence(report: Path) -> dict[str, str]:
    """The digests of what the report folder measured: model, predictions, manifest and their scratch twins."""
    file = report / "evidence.json"
    try:
        evidence = json.loads(file.read_text(encoding="utf-8"))
        return {
            key: str(evidence[key])
            for key in ("model", "predictions", "scratch_model", "scratch_predictions", "manifest")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceMissing(
            f"cannot read what was measured from {file}: {error!r}; run the stage evaluate"
        ) from error
