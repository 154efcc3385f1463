"""The model registry: what is champion, challenger and previous, and moves that a kill cannot leave half done.

MLflow's aliases are what serving reads; the ledger is the truth about what was decided. A change is: intent in the
ledger -> change -> check -> `done` in the ledger. A change that fails is undone at once; one that was killed is undone
by `repair` at the next start. Either way the registry shows exactly the old or the new state. One process at a time
moves a project, on all machines that share the ledger (tasks/lease.py): what is open when it begins was left by a dead
one.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tasks.errors import Busy, RegistryTrouble
from tasks.lease import Lease, hold
from tasks.ledger import Entry, Ledger, Rows
from tasks.settings import Settings, without_password

META = "registered_model_meta"  # which MLflow adds to what it downloads
ALIASES = ("champion", "challenger", "previous")
INTENT = "keel.intent"  # tag on runs and versions: the number of the ledger's intent that made them
logger = logging.getLogger("tasks.registry")
Aliases = dict[str, str | None]


@dataclass
class Change:
    """A change in progress: its intent, and the entry that closes it once there is no way back."""

    registry: "Registry"
    intent: Entry
    closing: Entry | None = None

    @property
    def number(self) -> int:
        """The intent's number, which tags whatever the change makes."""
        return self.intent.number

    def close(self, kind: str, body: dict[str, Any], also: Rows | None = None) -> Entry:
        """Write the entry that makes the change final, with the aliases that it moved and rows of another table.

        It fails when another process has taken over.
        """
        self.registry.check_hold()
        before, now = self.intent.body["before"], self.registry.aliases()
        moved = {alias: now[alias] for alias in ALIASES if now[alias] != before[alias]}
        content = {**body, "intent": self.number, **({"moved": moved} if moved else {})}
        self.closing = self.registry.enter(kind, content, also)
        return self.closing


class Registry:
    """One project's models in MLflow, with its part of the ledger. The registered model has the project's name."""

    def __init__(self, project: str, chosen: Settings) -> None:
        self.project, self.chosen, self.experiment = project, chosen, f"keel/{project}"
        self.lease: Lease | None = None
        with trouble(chosen), FileLock(chosen.state / "first-use.lock"):  # MLflow's first migration is not safe twice
            mlflow.set_tracking_uri(chosen.tracking_uri)
            self.client = MlflowClient(chosen.tracking_uri)
            self.client.search_experiments(max_results=1)
        self.ledger = Ledger(chosen.ledger_url)

    def experiment_id(self) -> str:
        """The project's experiment, made on first use, with an artifact place that does not depend on the caller."""
        with trouble(self.chosen):
            found = self.client.get_experiment_by_name(self.experiment)
            if found and found.lifecycle_stage == "deleted":
                server = without_password(self.chosen.tracking_uri)
                raise RegistryTrouble(
                    f"the experiment {self.experiment} was deleted in MLflow at {server}; "
                    f"`mlflow experiments restore --experiment-id {found.experiment_id}` brings it back"
                )
            if found:
                return str(found.experiment_id)
            place = f"{self.chosen.artifacts}/{self.project}" if self.chosen.artifacts else None
            return str(self.client.create_experiment(self.experiment, artifact_location=place))

    def aliases(self) -> Aliases:
        """The version behind each alias, as text; None where there is none."""
        with trouble(self.chosen):
            try:
                found = self.client.get_registered_model(self.project).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                found = {}
        return {alias: str(found[alias]) if alias in found else None for alias in ALIASES}

    def set_aliases(self, wanted: Aliases) -> None:
        """Move the aliases; `champion` is never absent in between when it exists before and after."""
        self.check_hold()
        now = self.aliases()
        for alias in ("previous", "champion", "challenger"):
            version = wanted[alias]
            if version is not None and version != now[alias]:
                self.check_hold()
                with trouble(self.chosen):
                    self.client.set_registered_model_alias(self.project, alias, version)
        for alias in ("challenger", "previous", "champion"):
            if wanted[alias] is None and now[alias] is not None:
                self.check_hold()
                with trouble(self.chosen):
                    self.client.delete_registered_model_alias(self.project, alias)

    def version_tags(self, version: str) -> dict[str, str]:
        """The tags of a registered version."""
        with trouble(self.chosen):
            return dict(self.client.get_model_version(self.project, version).tags)

    def tag(self, version: str, tags: dict[str, str]) -> None:
        """Set tags of a registered version."""
        self.check_hold()
        with trouble(self.chosen):
            for key, value in tags.items():
                self.client.set_model_version_tag(self.project, version, key, value)

    def version_of(self, model_digest: str) -> str | None:
        """The newest registered version of the model whose folder has this digest, if any."""
        with trouble(self.chosen):
            found = self.client.search_model_versions(f"name='{self.project}' and tags.model_digest='{model_digest}'")
        return str(max((int(v.version) for v in found), default=0)) if found else None

    @contextmanager
    def logged(self, version: str) -> Iterator[Path]:
        """All that MLflow serves as a version, downloaded into a folder that is gone afterwards."""
        with TemporaryDirectory() as folder:
            with trouble(self.chosen):
                place = f"models:/{self.project}/{version}"
                mlflow.artifacts.download_artifacts(place, dst_path=folder, tracking_uri=self.chosen.tracking_uri)
            yield Path(folder)

    @contextmanager
    def change(self, action: str, after: dict[str, Any]) -> Iterator["Change"]:
        """Everything inside happens wholly or not at all. `after` goes into the intent, for whoever reads it later."""
        before = self.aliases()
        intent = self.enter("intent", {"action": action, "before": before, **after})
        change = Change(self, intent)
        try:
            yield change
            if change.closing is None:
                change.close("done", {"action": action})
        except BaseException as error:
            if change.closing is None and intent in self.ledger.open_intents(self.project):
                logger.warning("%s failed, putting the registry back", action)
                self._undo(intent, f"{type(error).__name__}: {error}"[:500])
            raise

    @contextmanager
    def alone(self, wait: float = 60) -> Iterator[None]:
        """Hold the project's lease: one mover at a time. Repairs what a killed one left."""
        with hold(self.ledger, f"{self.project}.registry", self.chosen.state, wait) as lease:
            self.lease = lease
            try:
                self.repair()
                yield
            finally:
                self.lease = None

    def enter(self, kind: str, body: dict[str, Any], also: Rows | None = None) -> Entry:
        """An entry of the project's ledger, with rows of another table; Busy, and neither, when the lease was lost."""
        return self.ledger.append(kind, self.project, body, also, self.lease.check if self.lease else None)

    def check_hold(self) -> None:
        """Busy when the lease was lost, to be asked before each move."""
        if self.lease:
            self.lease.renew()

    def repair_if_free(self) -> bool:
        """Repair unless a living process is in the middle of a change; say whether one is."""
        try:
            with self.alone(wait=0):
                return True
        except Busy:
            return False

    def repair(self) -> list[Entry]:
        """Undo every change that was begun and never finished, newest first. Call it under the lease."""
        left = self.ledger.open_intents(self.project)
        for intent in left:
            logger.warning("a %s begun at %s was never finished: putting it back", intent.body["action"], intent.at)
            self._undo(intent, "the process ended before the change was finished")
        return left

    def _undo(self, intent: Entry, why: str) -> None:
        self.set_aliases(intent.body["before"])
        if "tags_before" in intent.body:
            self.tag(intent.body["version"], intent.body["tags_before"])
        with trouble(self.chosen):
            for version in self.client.search_model_versions(f"name='{self.project}'"):
                if version.tags.get(INTENT) == str(intent.number):
                    self.client.delete_model_version(self.project, version.version)
            for run in self._runs_of(intent):
                with suppress(MlflowException):
                    self.client.set_terminated(run.info.run_id, "KILLED")
                self.client.delete_run(run.info.run_id)
        self.enter("undone", {"intent": intent.number, "why": why})

    def _runs_of(self, intent: Entry) -> list[Run]:
        query = f"tags.`{INTENT}` = '{intent.number}'"
        return list(self.client.search_runs([self.experiment_id()], query))


@contextmanager
def trouble(chosen: Settings) -> Iterator[None]:
    """Turn whatever MLflow raises into one sentence that names the server."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
        where = without_password(chosen.tracking_uri)
        cause = without_password(str(error)).splitlines()[0][:300] if str(error) else type(error).__name__
        raise RegistryTrouble(f"MLflow at {where} failed: {cause}; nothing was left half done") from error
