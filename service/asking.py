"""One request for answers, from its body to its rows: door, model, guard, telling, log, and the other model's turn."""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from service.batching import Batching, NoAnswer, Overloaded
from service.body import Asked
from service.counted import Counted
from service.live import Live
from service.log_out import LogOut
from service.messages import Answers, Failed, Kept
from service.off_path import Job, OffPath
from service.telling import answer_of, judge, with_error, with_said
from tasks.digests import sha256_bytes, sha256_text
from tasks.door import Admitted, DoorLimits, admit
from tasks.logged_answer import LoggedAnswer
from tasks.routing import CHALLENGER, CHAMPION
from tasks.scorer import to_pixels
from tasks.serving_rules import ServingRules


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the client gets: the HTTP status, the arm, and for each image what is told of it."""

    request_id: str
    code: int
    arm: str
    detail: str
    answers: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Entered:
    """An image at the door, with its pixels for each version that is asked, by digest."""

    row: LoggedAnswer
    admitted: Admitted
    pixels: dict[str, np.ndarray]


class Asking:
    """Answers requests. `live` gives what answers at the moment."""

    def __init__(
        self,
        project: str,
        rules: ServingRules,
        limits: DoorLimits,
        live: Callable[[], Live],
        batching: Batching,
        log: LogOut,
        off_path: OffPath,
        counted: Counted,
    ) -> None:
        self.project, self.rules, self.limits, self.live = project, rules, limits, live
        self.batching, self.log, self.off_path, self.counted = batching, log, off_path, counted
        self.decoders = ThreadPoolExecutor(rules.batch.decoders, thread_name_prefix="decoder")

    async def answer(self, asked: Asked, peer: str) -> Outcome:
        """Answer every image of a request; never raises for what an image or a model is."""
        began, request_id = time.perf_counter(), uuid.uuid4().hex
        live, key = self.live(), sha256_text(asked.key or peer)
        arm, kept, other = live.route(key)
        ids = [request_id] if len(asked.images) == 1 else [f"{request_id}-{k}" for k in range(len(asked.images))]
        base = LoggedAnswer("", dt.datetime.now(dt.UTC), self.project, key, "", asked.consent, {}, about=asked.about)
        loop = asyncio.get_running_loop()
        wanted = [kept, other] if other else [kept]
        entered = await asyncio.gather(
            *(
                loop.run_in_executor(self.decoders, self._enter, base, name, content, wanted)
                for name, content in zip(ids, asked.images, strict=True)
            )
        )
        let_in = [one for one in entered if not one.admitted.reasons]
        error = ""
        said: list[tuple[Answers, int]] = []
        try:
            async with asyncio.timeout(self.rules.request.seconds):
                said = await asyncio.gather(*(self.batching.ask(kept, one.pixels[kept.digest]) for one in let_in))
        except (NoAnswer, Overloaded, TimeoutError) as problem:
            error = str(problem) or f"no answer within {self.rules.request.seconds:g} s"
            code = {NoAnswer: 500, Overloaded: 503, TimeoutError: 504}[type(problem)]
        taken = 1000 * (time.perf_counter() - began)
        if error:
            for one in let_in:
                self.log.write(with_error(one.row, arm, kept, error, taken), one.admitted.image)
            return Outcome(request_id, code, arm, error)
        answers = dict(zip((one.row.request_id for one in let_in), said, strict=True))
        told = [self._tell(one, arm, kept, live, answers.get(one.row.request_id), taken) for one in entered]
        for one in let_in if other else []:
            self._offer(other, one)  # type: ignore[arg-type]
        if not let_in:
            return Outcome(request_id, 422, "", "no image was let in; the answers say why", told)
        return Outcome(request_id, 200, arm, "", told)

    def answered_off_path(self, job: Job, said: Answers | Failed) -> None:
        """Put on record what the other model said, which nobody was told."""
        live, row = self.live(), job.row
        arm = CHALLENGER if live.challenger and job.kept.digest == live.challenger.digest else CHAMPION
        guard = live.guards.get(job.kept.digest)
        if isinstance(said, Failed):
            self.counted.off_path.labels("failed").inc()
            self.log.write(with_error(row, arm, job.kept, said.sentence, 0.0))
        elif guard is not None:  # else the rollout has ended in the meantime
            self.counted.off_path.labels("answered").inc()
            found = judge(arm, job.kept, guard, said, 0, self.rules.guards.abstain_on)
            self.log.write(with_said(row, found, 0.0))

    def _enter(self, base: LoggedAnswer, request_id: str, content: bytes, wanted: list[Kept]) -> Entered:
        """On a thread of its own: the decoders let go of the interpreter's lock."""
        admitted = admit(content, self.limits)
        reasons = admitted.reasons
        row = replace(
            base, request_id=request_id, sha256=sha256_bytes(content), measures=admitted.measures, reasons=reasons
        )
        if reasons or admitted.image is None:
            return Entered(row, admitted, {})
        sizes = {kept.image_size: to_pixels(admitted.image, kept.image_size) for kept in wanted}
        return Entered(row, admitted, {kept.digest: sizes[kept.image_size] for kept in wanted})

    def _tell(
        self, one: Entered, arm: str, kept: Kept, live: Live, answer: tuple[Answers, int] | None, taken: float
    ) -> dict[str, Any]:
        if answer is None:
            self.counted.rejections.labels("image").inc()
            self.log.write(replace(one.row, latency_ms=taken))
            return answer_of(one.row)
        guard = live.guards[kept.digest]
        said = judge(arm, kept, guard, *answer, self.rules.guards.abstain_on)
        row = with_said(one.row, said, taken)
        self.log.write(row, one.admitted.image)
        for name in said.flags:
            self.counted.flags.labels(name).inc()
        if not row.label:
            self.counted.abstentions.labels(arm).inc()
        return answer_of(row, said.flags.values(), sets=said.told.prediction_set is not None)

    def _offer(self, other: Kept, one: Entered) -> None:
        row = replace(one.row, answered=False)
        if not self.off_path.offer(Job(other, one.pixels[other.digest], row)):
            self.counted.off_path.labels("dropped").inc()
