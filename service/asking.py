"""One request for answers, from its body to its rows: door, model, guard, telling, log, and the other model's turn."""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from service.batching import Batching, NoAnswer, Overloaded
from service.body import Asked
from service.counted import Counted
from service.live import Live
from service.log_out import LogOut
from service.messages import Answers, Failed, Kept
from service.off_path import Job, OffPath
from service.telling import BURST, answer_of, judge, with_burst, with_error, with_said
from tasks.bursts import BurstLimits, Bursts
from tasks.digests import sha256_bytes, sha256_text
from tasks.door import DoorLimits, admit
from tasks.fingerprints import perceptual_hash
from tasks.logged_answer import LoggedAnswer
from tasks.routing import CHALLENGER, CHAMPION
from tasks.scorer import to_pixels
from tasks.serving_rules import ServingRules

CODES: dict[type[BaseException], int] = {NoAnswer: 500, Overloaded: 503, TimeoutError: 504}
SMALL_BYTES, SMALL_PIXELS = 32_768, 65_536  # decoded sooner than handed to another thread
TOO_LATE = "no answer in time"


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
    """An image at the door, with its pixels for each version that is asked, by digest; none where it was turned away.

    `image` is there where it will be kept alone: a small file may hold sixteen million pixels.
    """

    row: LoggedAnswer
    image: Image.Image | None
    pixels: dict[str, np.ndarray]
    alike: int = 0  # its perceptual hash


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
        self.bursts = Bursts(BurstLimits(**rules.bursts.model_dump(exclude={"reason"})))
        self.small = replace(limits, most_pixels=min(limits.most_pixels, SMALL_PIXELS))  # whoever needs more gets it
        self.decoders = ThreadPoolExecutor(rules.batch.decoders, thread_name_prefix="decoder")

    async def answer(self, asked: Asked, peer: str, caller: str) -> Outcome:
        """Answer every image of a request; never raises for what an image or a model is.

        `caller` is who bursts are counted by: a key is what a client says of itself.
        """
        began, request_id = time.perf_counter(), uuid.uuid4().hex
        live, key = self.live(), sha256_text(asked.key or peer)
        arm, kept, other = live.route(key)
        now = dt.datetime.now(dt.UTC)
        base = LoggedAnswer(request_id, now, self.project, key, "", asked.consent, {}, about=asked.about)
        entered: list[Entered] = []
        try:
            async with asyncio.timeout(self.rules.request.seconds):
                entered = await self._enter_all(base, asked.images, [kept, other] if other else [kept])
                self.batching.admit(sum(bool(one.pixels) for one in entered))  # all of a request or none
                asked_of = [self._ask(kept, one) for one in entered]  # all at once, so that they share a batch
                said = [await one for one in asked_of] if len(asked_of) == 1 else await asyncio.gather(*asked_of)
        except tuple(CODES) as problem:
            error, taken = str(problem) or TOO_LATE, 1000 * (time.perf_counter() - began)
            for row, image in [(one.row, one.image) for one in entered] or [(base, None)]:
                self.log.write(with_error(row, arm, kept, error, taken), image)
            return Outcome(request_id, CODES[type(problem)], arm, error)
        taken = 1000 * (time.perf_counter() - began)
        told = [
            self._tell(one, arm, kept, live, answer, taken, caller) for one, answer in zip(entered, said, strict=True)
        ]
        if not any(said):
            return Outcome(request_id, 422, "", "no image was let in; the answers say why", told)
        if other:
            self._offer(other, entered)
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

    async def _enter_all(self, base: LoggedAnswer, images: list[bytes], wanted: list[Kept]) -> list[Entered]:
        """Every image at the door; those of a request with many have ids of their own."""
        run, whole = asyncio.get_running_loop().run_in_executor, base.request_id
        if len(images) == 1:
            small = len(images[0]) <= SMALL_BYTES and self._enter(base, whole, images[0], wanted, self.small)
            if small and small.pixels:
                return [small]
            return [await run(self.decoders, self._enter, base, whole, images[0], wanted, self.limits)]
        turns = asyncio.Semaphore(max(1, self.rules.batch.decoders - 1))  # who sends many leaves a decoder to others

        async def enter(place: int, image: bytes) -> Entered:
            async with turns:
                return await run(self.decoders, self._enter, base, f"{whole}-{place}", image, wanted, self.limits)

        return await asyncio.gather(*(enter(place, image) for place, image in enumerate(images)))

    def _ask(self, kept: Kept, one: Entered) -> Awaitable[tuple[Answers, int] | None]:
        """The model's answer; None for an image that was turned away."""
        if one.pixels:
            return self.batching.ask(kept, one.pixels[kept.digest])
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def _enter(
        self, base: LoggedAnswer, request_id: str, content: bytes, wanted: list[Kept], limits: DoorLimits
    ) -> Entered:
        """On a thread of its own, for the decoders let go of the interpreter's lock; or here, what is small."""
        admitted = admit(content, limits)
        reasons = admitted.reasons
        row = replace(
            base, request_id=request_id, sha256=sha256_bytes(content), measures=admitted.measures, reasons=reasons
        )
        if reasons or admitted.image is None:
            return Entered(row, None, {})
        sizes = {kept.image_size: to_pixels(admitted.image, kept.image_size) for kept in wanted}
        pixels = {kept.digest: sizes[kept.image_size] for kept in wanted}
        image = admitted.image if self.log.keeps(row) else None
        return Entered(row, image, pixels, perceptual_hash(admitted.image))

    def _tell(
        self,
        one: Entered,
        arm: str,
        kept: Kept,
        live: Live,
        answer: tuple[Answers, int] | None,
        taken: float,
        caller: str,
    ) -> dict[str, Any]:
        if answer is None:
            self.counted.rejections.labels("image").inc()
            self.log.write(replace(one.row, latency_ms=taken))
            return answer_of(one.row)
        guard = live.guards[kept.digest]
        rules = self.rules
        said = judge(arm, kept, guard, *answer, rules.guards.abstain_on)
        near = self.bursts.see(caller, one.alike, time.monotonic())
        said = with_burst(said, near, rules.bursts.burst, BURST in rules.guards.abstain_on)
        row = with_said(one.row, said, taken)
        self.log.write(row, one.image)
        for name in said.flags:
            self.counted.flags.labels(name).inc()
        if not row.label:
            self.counted.abstentions.labels(arm).inc()
        return answer_of(row, said.flags.values(), sets=said.told.prediction_set is not None)

    def _offer(self, other: Kept, entered: list[Entered]) -> None:
        for one in entered:
            job = Job(other, one.pixels[other.digest], replace(one.row, answered=False)) if one.pixels else None
            if job and not self.off_path.offer(job):
                self.counted.off_path.labels("dropped").inc()
