"""Register a judged model: a version in MLflow's registry that any stock client can load, with the alias challenger.

A version is a model folder, every file of it: the same weights with other class names or another temperature are
another model. The version's tags name the newest decision on it; `release.json`, logged beside the model, names the one
it was registered by, with the digests of data and plan, which training cannot know: a new plan must not retrain. Golden
answers (tasks/golden.py) lie beside them, to ask the version by when its run folder is long gone.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.digests import digest_of, identity
from tasks.golden import GOLDEN, golden_answers
from tasks.packaging import packaged
from tasks.registry import INTENT, META, Registry, trouble

logger = logging.getLogger("tasks.register")


@task(cache_policy=NO_CACHE)
def register(
    registry: Registry, model: Path, run_id: str, tags: dict[str, str], data: Path, manifest: Path, predictions: Path
) -> str:
    """Register the model folder under the MLflow run and return the version; the same model is registered once.

    `tags` are what the version says of the decision: `decision` (its number), `verdict`, `data_version` and so on;
    `predictions` are those that it was judged by, on images of `data`.
    """
    digest = identity(model)
    about = {"model_digest": digest, "decision": int(tags["decision"])}
    golden = golden_answers(data, manifest, predictions)
    with registry.alone():
        known = registry.version_of(digest)
        if known is not None:
            logger.info("this model is registered already, as version %s of %s", known, registry.project)
            _tie(registry, known, tags, about)
            return known
        with registry.change("register", {"run": run_id, **about}) as change, trouble(registry.chosen):
            logged = _log(model, run_id, {"project": registry.project, "model_digest": digest, **tags}, golden)
            _create_name(registry)
            created = registry.client.create_model_version(
                registry.project,
                logged.model_uri,
                run_id,
                tags={**tags, "model_digest": digest, INTENT: str(change.number)},
            )
            registry.set_aliases({**registry.aliases(), "challenger": str(created.version)})
            with registry.logged(str(created.version)) as folder:
                logged_digest = digest_of(folder, {META})
            change.close("done", {"action": "register", "version": str(created.version), "logged": logged_digest})
    logger.info("registered version %s of %s as challenger", created.version, registry.project)
    return str(created.version)


def _tie(registry: Registry, version: str, tags: dict[str, str], about: dict[str, Any]) -> None:
    """Let a version that was registered before name the newest decision on it."""
    before = registry.version_tags(version)
    if all(before.get(key) == value for key, value in tags.items()):
        return
    old = {key: before.get(key, "") for key in tags}
    aliases = registry.aliases()
    with registry.change("confirm", {"version": version, "tags_before": old, **about}):
        registry.tag(version, tags)
        if version not in aliases.values():  # taken off before, or overtaken: the newer decision makes it one again
            registry.set_aliases({**aliases, "challenger": version})


def _log(model: Path, run_id: str, release: dict[str, str], golden: pd.DataFrame) -> Any:
    with packaged(model, release) as arguments, TemporaryDirectory() as folder:
        golden.to_parquet(file := Path(folder, GOLDEN), index=False)
        arguments["artifacts"]["golden"] = str(file)
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            return mlflow.pyfunc.log_model(name="model", **arguments)


def _create_name(registry: Registry) -> None:
    if not registry.client.search_registered_models(f"name='{registry.project}'"):
        registry.client.create_registered_model(registry.project)
