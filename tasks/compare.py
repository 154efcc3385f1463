"""Compare a candidate with the champion on the same images: the plan's section `champion`, judged.

Not a stage of dvc.yaml, for who is champion is the registry's to say: the same candidate has another comparison after
another promotion. The comparison's files join the verdict's bundle, so a replay needs no registry.
"""

import json
import logging
from pathlib import Path

import pandas as pd

from tasks.cases import ANSWERS, read_cases
from tasks.comparison import CHAMPION, PREDICTIONS, write_comparison
from tasks.fetch_champion import VERSION
from tasks.params import EvaluateParams
from tasks.predict import TABLE, score
from tasks.predict_cases import answer_cases
from tasks.scorer import FACTS
from tasks.slices import JUDGED
from tasks.stage import stage

logger = logging.getLogger("tasks.compare")


@stage
def compare(
    data: Path,
    manifest: Path,
    predictions: Path,
    model: Path,
    champion: Path,
    cases: Path | None,
    answers: Path,
    plan: Path,
    params: EvaluateParams,
    not_applicable: dict[str, str],
    out: Path,
) -> None:
    """Write champion.json, the champion's predictions, their answers to the must-pass cases, report.json and
    verdict.json. `answers` are the candidate's to the cases.

    Without another model in use, or with one that knows other classes, the criteria do not apply, and say why.
    """
    about = json.loads((champion / VERSION).read_text(encoding="utf-8"))
    reason = why_not(champion / "model", model, about)
    if reason is None:
        table = pd.read_parquet(manifest / "manifest.parquet")
        judged = table[table["split"].isin(JUDGED)].reset_index(drop=True)
        score(data, judged, champion / "model").to_parquet(out / PREDICTIONS, index=False)
        answer_cases(cases, read_cases(cases), champion / "model").to_parquet(out / ANSWERS, index=False)
    (out / CHAMPION).write_text(json.dumps(about | {"why_not": reason}, indent=1) + "\n", encoding="utf-8")
    verdict = write_comparison(predictions / TABLE, answers / ANSWERS, out, manifest, plan, params, not_applicable, out)
    for judgement in verdict.judgements:
        logger.info("%s", judgement.sentence, extra={"detail": True})
    logger.info("%s", f"not compared: {reason}" if reason else f"compared with version {about['version']}")


def why_not(champion: Path, model: Path, about: dict[str, str | None]) -> str | None:
    """Why there is nobody to compare with; None when there is."""
    if about["version"] is None:
        return "no other model is in use to compare with"
    theirs, ours = (json.loads((f / FACTS).read_text(encoding="utf-8"))["classes"] for f in (champion, model))
    if theirs != ours:
        return (
            f"the champion, version {about['version']}, knows the classes {', '.join(theirs)}, the candidate "
            f"{', '.join(ours)}: their answers cannot be compared image by image"
        )
    return None
