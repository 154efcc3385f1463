"""Write the pages that a decision is read by: report.html for those who check it, brief.html for those who decide.

Not a stage of dvc.yaml, for what is decided is also the registry's and the ledger's to say: who is champion, whether
the plan came in time. They are written before the decision is entered, so that its bundle holds them and their digests.
"""

import logging
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.brief import brief
from tasks.dossier import read_dossier
from tasks.figures import tell, traced
from tasks.plan import load_plan
from tasks.report_page import report_page, without
from tasks.stage import stage

logger = logging.getLogger("tasks.write_pages")


@stage
def write_pages(
    name: str,
    decided: dict[str, Any],
    plan: Path,
    data: Path,
    manifest: Path,
    backbone: Path,
    audit: Path,
    model: Path,
    scratch: Path,
    predictions: Path,
    attributions: Path,
    report: Path,
    comparison: Path,
    latency: Path,
    out: Path,
) -> None:
    """Write report.html and brief.html; `name` is the project's, `decided` as in read_dossier."""
    folders = {"manifest": manifest, "backbone": backbone, "audit": audit, "model": model, "scratch": scratch}
    folders |= {"predictions": predictions, "attributions": attributions, "report": report, "comparison": comparison}
    folders["latency"] = latency
    dossier = read_dossier(name, decided, load_plan(plan), folders)
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    environment.filters |= {"tell": tell, "traced": traced, "without": without}
    for template, page in (("report.html.j2", report_page(dossier, folders, data)), ("brief.html.j2", brief(dossier))):
        text = environment.get_template(template).render(page)
        (out / template.removesuffix(".j2")).write_text(text, encoding="utf-8")
    logger.info("wrote the report and the brief")
