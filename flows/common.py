"""What several flows share: where things lie, a stage's parameters, and the registry before anything is begun."""

import logging
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import BadInput
from tasks.params import (
    AttributeParams,
    AuditParams,
    CertifyParams,
    CheckDataParams,
    ChooseBackboneParams,
    EmbedParams,
    EvaluateParams,
    FinetuneParams,
    FitGuardParams,
    InterpolateParams,
    MeasureLatencyParams,
    S,
    Section,
    ShortlistParams,
    SplitParams,
    StressParams,
    load_section,
)
from tasks.project import Project
from tasks.registry import Registry
from tasks.settings import Settings, without_password

PARAMS = Path("params.yaml")
PROJECTS = Path("governance/projects")
RUNS = Path("runs")
SECTIONS: tuple[type[Section], ...] = (
    CheckDataParams,
    SplitParams,
    ShortlistParams,
    ChooseBackboneParams,
    AuditParams,
    FinetuneParams,
    StressParams,
    AttributeParams,
    EmbedParams,
    EvaluateParams,
    FitGuardParams,
    MeasureLatencyParams,
    InterpolateParams,
    CertifyParams,
)
logger = logging.getLogger("flows.common")


@task(cache_policy=NO_CACHE)
def reach_registry(project: str, chosen: Settings) -> Registry:
    """MLflow and the ledger, asked before anything is learnt that they could not take.

    What a killed process left half moved is put back before anybody asks who is champion.
    """
    registry = Registry(project, chosen)
    with registry.alone():
        pass
    registry.experiment_id()
    logger.info("MLflow at %s and the ledger answer", without_password(chosen.tracking_uri))
    return registry


def knobs(record_type: type[S], about: Project) -> S:
    """A stage's parameters: params.yaml with the project's overrides."""
    unknown = set(about.params) - {section.section for section in SECTIONS}
    if unknown:
        known = ", ".join(section.section for section in SECTIONS)
        raise BadInput(f"project {about.name}: params has no section {sorted(unknown)}; the sections are {known}")
    return load_section(record_type, PARAMS, about.params.get(record_type.section))


def all_params(about: Project) -> dict[str, Any]:
    """Every section in force, for the record."""
    return {section.section: knobs(section, about).model_dump(mode="json") for section in SECTIONS}
