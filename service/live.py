"""Which version answers: what the registry says, followed by a thread; the last good state while it says nothing.

A move is followed in this order: download, check, load in every worker, then one assignment, between two batches. What
cannot be fetched, is not what was registered, or does not load changes nothing, and `trouble` says so. A start while
MLflow is away takes the champion that the ledger names, if it was kept from before and is what was registered.
"""

import datetime as dt
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from service.kept_versions import keep_version, kept_champion
from service.messages import Kept
from tasks.errors import DigestMismatch, EvidenceMissing, RegistryTrouble
from tasks.guard import Guard
from tasks.ledger import Ledger
from tasks.registry import Registry, trouble
from tasks.rollout import Standing, standing
from tasks.routing import CHALLENGER, CHAMPION, arm_of
from tasks.settings import Settings

logger = logging.getLogger("service.live")


@dataclass(frozen=True)
class Live:
    """What answers now. `challenger` is there while a rollout is on."""

    champion: Kept
    guards: dict[str, Guard]  # by digest: the terms of an answer, and the thresholds
    since: dt.datetime
    rollout: Standing | None = None
    challenger: Kept | None = None

    def route(self, key: str) -> tuple[str, Kept, Kept | None]:
        """The arm and the version that answer a key, and the version that is asked of it off the request's path."""
        if self.rollout is None or self.challenger is None:
            return CHAMPION, self.champion, None
        if self.rollout.kind == "shadow":
            return CHAMPION, self.champion, self.challenger
        if arm_of(key, self.rollout.salt, self.rollout.share) == CHALLENGER:
            return CHALLENGER, self.challenger, self.champion
        return CHAMPION, self.champion, None


def refuse_unreachable(chosen: Settings) -> None:
    """RegistryTrouble when MLflow's database does not answer: MLflow itself would try again for up to an hour."""
    if chosen.tracking_uri.startswith("http"):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # of 7, which take minutes
        return
    with trouble(chosen):
        url = make_url(chosen.tracking_uri)
        if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
            raise FileNotFoundError(f"{url.database} is not there")
        with create_engine(url).connect() as connection:
            inspect(connection).get_table_names()


class Follower:
    """Keeps `live` in step with the registry."""

    def __init__(self, project: str, chosen: Settings, poll_seconds: float) -> None:
        self.project, self.chosen, self.poll_seconds = project, chosen, poll_seconds
        self.place = chosen.state / "serving"
        self.trouble, self.asked_at = "", dt.datetime.now(dt.UTC)
        self.forged = ""  # what is wrong with the tag of a rollout
        self.stopped = threading.Event()
        self.ledger = Ledger(chosen.ledger_url)
        self.registry: Registry | None = None
        try:
            self.live = self._read(None)
        except RegistryTrouble as error:
            self.live, self.trouble = self._read_kept(error), str(error)

    def follow(self, prepare: Callable[[Kept], None]) -> threading.Thread:
        """Start the thread; `prepare` loads a version in every worker, or raises."""
        thread = threading.Thread(target=self._run, args=(prepare,), name="follower", daemon=True)
        thread.start()
        return thread

    def _run(self, prepare: Callable[[Kept], None]) -> None:
        while not self.stopped.wait(self.poll_seconds):
            try:
                fresh = self._read(self.live)
                if fresh is not self.live:
                    for kept in (fresh.champion, fresh.challenger):
                        if kept is not None:
                            prepare(kept)
                    logger.info("version %s is champion now", fresh.champion.version)
                    self.live = fresh
                if self.forged and self.forged != self.trouble:
                    logger.warning("no rollout is followed: %s", self.forged)
                self.trouble, self.asked_at = self.forged, dt.datetime.now(dt.UTC)
            except Exception as error:  # whatever it is, the last good state goes on answering
                if str(error) != self.trouble:
                    logger.warning("the registry is not followed: %s", error)
                self.trouble = str(error) or type(error).__name__

    def _read(self, now: Live | None) -> Live:
        """What the registry says; `now` itself when that has not changed."""
        if self.registry is None:
            refuse_unreachable(self.chosen)
            self.registry = Registry(self.project, self.chosen)
        registry = self.registry
        version, rollout, self.forged = registry.aliases()["champion"], None, ""
        try:
            rollout = standing(registry)
        except DigestMismatch as error:  # the champion is followed all the same, and has all the traffic
            self.forged = str(error)
        if version is None:
            raise EvidenceMissing(
                f"{self.project} has no champion to serve; `keel release --project {self.project}` makes one"
            )
        beside = rollout.version if rollout else None
        if now and (now.champion.version, now.challenger and now.challenger.version) == (version, beside):
            if now.rollout == rollout:
                return now
            return Live(now.champion, now.guards, now.since, rollout, now.challenger)
        champion = self._keep(registry, version, now)
        challenger = self._keep(registry, beside, now) if beside else None
        guards = {kept.digest: Guard.load(kept.guard) for kept in (champion, challenger) if kept}
        same = now is not None and now.champion.version == version
        since = now.since if now and same else dt.datetime.now(dt.UTC)
        return Live(champion, guards, since, rollout, challenger)

    def _read_kept(self, error: RegistryTrouble) -> Live:
        """What the ledger says while MLflow is away; all traffic is the champion's, for a rollout is not known."""
        kept = kept_champion(self.project, self.ledger.sound(self.project), self.place)
        logger.warning("version %s is served as it was kept, for the registry is away: %s", kept.version, error)
        return Live(kept, {kept.digest: Guard.load(kept.guard)}, dt.datetime.now(dt.UTC))

    def _keep(self, registry: Registry, version: str, now: Live | None) -> Kept:
        at_hand = [kept for kept in (now.champion, now.challenger) if kept] if now else []
        return next((kept for kept in at_hand if kept.version == version), None) or keep_version(
            registry, version, self.place
        )
