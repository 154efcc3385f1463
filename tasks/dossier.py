"""The dossier of a decision: all that the report and the brief are written from, read once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.comparison import CHAMPION, PREDICTIONS
from tasks.findings import Finding, Found, index_findings, read_findings
from tasks.plan import SECTIONS, Plan
from tasks.verdict import Judgement, Verdict

LEVELS = ("high", "medium", "low")  # of a risk


@dataclass(frozen=True)
class Dossier:
    """`found` holds the findings of report, comparison and latency; `scored` the images with the answers to them.

    `champion` says who was compared with, or why nobody (`why_not`); `champion_answers` is None then.
    """

    project: str
    verdict: Verdict
    plan: Plan
    found: Found
    facts: dict[str, Any]
    passport: dict[str, Any]
    manifest: pd.DataFrame
    scored: pd.DataFrame
    champion: dict[str, Any]
    champion_answers: pd.DataFrame | None
    data: dict[str, Any]
    params: dict[str, Any]
    standing: dict[str, Any]
    risks: list[dict[str, Any]]

    def get(self, metric: str, place: str) -> Finding | None:
        """The finding, where there is one and it is a number."""
        found = self.found.get((metric, place))
        return found if found and found.is_number else None

    @property
    def where(self) -> str:
        """The split that stands for the place of use: the mirror, or test where the project has no mirror."""
        return "mirror" if ("accuracy", "mirror") in self.found else "test"

    @property
    def register(self) -> list[tuple[dict[str, Any], str]]:
        """Each risk of the project and how it stands, the highest first."""
        pairs = zip(self.risks, self.standing["risk_register"], strict=True)
        return sorted(pairs, key=lambda pair: LEVELS.index(pair[0]["level"]))

    def by_section(self) -> list[tuple[str, list[Judgement], str | None]]:
        """Each section of the plan: its name, its judgements, or the reason why it asks for nothing."""
        parts = []
        for name in SECTIONS:
            asked = {c.name for c in self.plan.asked(name)}
            judged = [j for j in self.verdict.judgements if j.criterion in asked]
            parts.append((name, judged, None if asked else getattr(self.plan, name).none))
        return parts


def read_dossier(project: str, decided: dict[str, Any], plan: Plan, folders: dict[str, Path]) -> Dossier:
    """Read what `folders` hold: manifest, predictions, report, comparison, latency, model and backbone.

    `decided` is what is decided, in terms that JSON can hold: `verdict` as it goes on record, `data` the version of the
    data with its sentence, `params` every section in force, `standing` the waivers in use and how each risk stands, in
    words, `risks` the project's entries in the register.
    """
    champion, verdict = folders["comparison"], decided["verdict"]
    table = pd.read_parquet(folders["manifest"] / "manifest.parquet")
    answers = pd.read_parquet(folders["predictions"] / "predictions.parquet")
    judgements = tuple(Judgement(**row) for row in verdict["judgements"])
    theirs = champion / PREDICTIONS
    return Dossier(
        project=project,
        verdict=Verdict(verdict["overall"], verdict["sentence"], judgements, verdict["digests"]),
        plan=plan,
        found=index_findings(f for name in ("report", "comparison", "latency") for f in read_findings(folders[name])),
        facts=read_json(folders["model"] / "model.json"),
        passport=read_json(folders["backbone"] / "passport.json"),
        manifest=table,
        scored=answers.merge(table, on="image_id"),
        champion=read_json(champion / CHAMPION),
        champion_answers=pd.read_parquet(theirs) if theirs.is_file() else None,
        data=decided["data"],
        params=decided["params"],
        standing=decided["standing"],
        risks=decided["risks"],
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
