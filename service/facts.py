"""What the service says of itself: health, readiness, version, metrics; and where reports of users go."""

import asyncio
from dataclasses import asdict
from typing import Any

from service import shapes
from service.asking import Asking
from service.batching import NoAnswer
from service.live import Follower
from service.messages import Kept
from service.workers import Workers
from tasks.errors import RegistryTrouble
from tasks.places import feedback_url
from tasks.project import Project
from tasks.routing import CHALLENGER, CHAMPION

READY_SECONDS = 2.0  # in which a worker must say that it has the champion


class Facts:
    """Reads the parts of the service."""

    def __init__(self, about: Project, release: str, follower: Follower, asking: Asking, workers: Workers) -> None:
        self.project, self.release, self.follower, self.asking = about.name, release, follower, asking
        self.workers = workers
        named = [about.unit, *about.slices, "captured_at", "source"]
        self.columns = list(dict.fromkeys(name for name in named if name))
        self.store: Any = None
        self.unfiled = ""  # why the last report could not be kept

    def trouble(self) -> list[str]:
        """Sentences; none while all is well."""
        found = [f"the registry is not followed: {self.follower.trouble}"] if self.follower.trouble else []
        missing = self.asking.batching.workers - self.workers.up()
        found += [f"{missing} of {self.asking.batching.workers} workers are down or start"] if missing > 0 else []
        log = self.asking.log.health()
        found += [f"the log takes no rows: {log.problem}"] if log.problem else []
        return found + ([f"the last report was not filed: {self.unfiled}"] if self.unfiled else [])

    def health(self) -> shapes.Health:
        """What is going on."""
        trouble, off = self.trouble(), self.asking.off_path
        return shapes.Health(
            status="degraded" if trouble else "ok",
            version=self.follower.live.champion.version,
            registry_asked_at=self.follower.asked_at,
            workers=self.workers.up(),
            waiting=len(self.asking.batching.waiting),
            log=asdict(self.asking.log.health()),
            off_path={"waiting": off.jobs.qsize(), "dropped": off.dropped, "restarts": off.restarts},
            trouble=trouble,
        )

    async def ready(self) -> shapes.Ready:
        """Whether a worker has the champion, and the log takes rows."""
        log, found = self.asking.log.health(), list[str]()
        if log.problem:
            found.append(f"the log takes no rows: {log.problem}")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.asking.batching.prepare_any(self.follower.live.champion, READY_SECONDS)
        except (NoAnswer, TimeoutError) as error:
            found.append(f"no checked model answers: {str(error) or 'not in time'}")
        return shapes.Ready(ready=not found, trouble=found)

    def version(self) -> shapes.Version:
        """What answers whom."""
        live = self.follower.live
        rollout, share = live.rollout, live.rollout.share if live.rollout else 0.0
        arms = [arm_facts(CHAMPION, live.champion, 1 - share)]
        if live.challenger:
            arms.append(arm_facts(CHALLENGER, live.challenger, share))
        return shapes.Version(
            project=self.project,
            model=live.champion.digest,
            version=live.champion.version,
            data_version=live.champion.data_version,
            decision=live.champion.decision,
            since=live.since,
            rollout=asdict(rollout) if rollout else None,
            arms=arms,
        )

    def metrics(self) -> bytes:
        """The page for Prometheus; what is not counted as it happens is read now."""
        counted, live, log = self.asking.counted, self.follower.live, self.asking.log.health()
        counted.log_lag.set(log.lag_seconds)
        counted.log_lost.set(log.lost)
        counted.registry_up.set(0 if self.follower.trouble else 1)
        counted.waiting.set(len(self.asking.batching.waiting))
        counted.model.clear()
        for alias, kept in ((CHAMPION, live.champion), (CHALLENGER, live.challenger)):
            if kept:
                counted.model.labels(alias, kept.version, kept.digest).set(1)
        return counted.text()

    def told(self) -> dict[str, Any]:
        """For the page: counts since the start, and a row for each part of the service."""
        counted, log, off = self.asking.counted, self.asking.log.health(), self.asking.off_path
        since = f"{self.follower.asked_at:%Y-%m-%d %H:%M:%S} UTC"
        rows = [
            ("registry", f"not followed: {self.follower.trouble}" if self.follower.trouble else f"read {since}"),
            ("workers", f"{self.workers.up()} of {self.asking.batching.workers}, {self.workers.restarts} restarts"),
            ("log", log.problem or f"{log.waiting} rows wait, the oldest {log.lag_seconds:.1f} s; {log.lost} lost"),
            ("off the path", f"{off.jobs.qsize()} wait, {off.dropped} dropped, {off.restarts} restarts"),
        ]
        return {
            "answers": f"{counted.total(counted.requests, route='/predict', code='200'):,}",
            "rejected": f"{counted.total(counted.rejections):,}",
            "abstained": f"{counted.total(counted.abstentions):,}",
            "service": rows,
        }

    def reports(self) -> Any:
        """The store of reports, opened once; RegistryTrouble when it is away."""
        from tasks.feedback_store import FeedbackStore

        self.store = self.store or FeedbackStore(feedback_url())
        return self.store

    def file_report(self, fields: dict[str, Any]) -> str:
        """Keep what a user says; BadInput when it is not accepted, RegistryTrouble when the store is away."""
        from tasks.feedback import report_of

        report = report_of(fields)
        try:
            filed = str(self.reports().add(report))
        except RegistryTrouble as error:
            self.unfiled = str(error)
            raise
        self.unfiled = ""
        return filed


def arm_facts(arm: str, kept: Kept, share: float) -> shapes.Arm:
    """One line of the arm table."""
    return shapes.Arm(
        arm=arm,  # type: ignore[arg-type]
        version=kept.version,
        model=kept.digest,
        decision=kept.decision,
        data_version=kept.data_version,
        share=share,
    )
