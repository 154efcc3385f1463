"""Judge what was timed by the plan's section `latency`, beside the champion's timings on the same hardware."""

import json
import logging
import shutil
from pathlib import Path

from tasks.findings import TIMINGS
from tasks.latency import CHAMPION, why_not, write_latency
from tasks.params import EvaluateParams
from tasks.stage import stage

logger = logging.getLogger("tasks.judge_latency")


@stage
def judge_latency(
    timings: Path, champion: Path, plan: Path, params: EvaluateParams, not_applicable: dict[str, str], out: Path
) -> None:
    """Write timings.json and champion.json, which a replay takes, report.json and verdict.json.

    `champion` is the folder of fetch_champion, with the timings of their last decision where there were any.
    """
    ours, kept = json.loads((timings / TIMINGS).read_text(encoding="utf-8")), champion / TIMINGS
    theirs = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    reason = why_not(ours, theirs)
    shutil.copyfile(timings / TIMINGS, out / TIMINGS)
    document = {"why_not": reason, "timings": theirs if reason is None else None}
    (out / CHAMPION).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    verdict = write_latency(out, plan, params, not_applicable, out)
    for judgement in verdict.judgements:
        logger.info("%s", judgement.sentence, extra={"detail": True})
    logger.info("latency: %s", "timed and judged" if ours["why_not"] is None else ours["why_not"])
