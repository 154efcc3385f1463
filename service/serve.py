"""The service, from its start to its end: one web process, LitServe's workers, and a process off the path.

Start: the champion is fetched and checked before anything listens; workers load it; then the port opens. End (SIGTERM,
Ctrl-C): the port closes, requests under way are answered, what they wrote is flushed, workers end.
"""

import asyncio
import multiprocessing as mp
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version as installed

import litserve
import uvicorn
from fastapi import FastAPI
from litserve.utils import wrap_litserve_start
from prometheus_client import disable_created_metrics

from service.access import tokens_for
from service.app import make_app
from service.asking import Asking
from service.batching import Batching, NoAnswer
from service.counted import Counted
from service.facts import Facts
from service.live import Follower
from service.log_out import LogOut
from service.messages import Kept
from service.notes import write_json_lines
from service.off_path import OffPath
from service.status_page import StatusPage
from service.worker import Worker, load_aside
from service.workers import Workers
from tasks.door import limits_of
from tasks.feedback_rules import load_feedback_rules
from tasks.params import CheckDataParams
from tasks.places import log_place
from tasks.project import Project
from tasks.serving_rules import ServingRules
from tasks.settings import Settings
from tasks.watch import load_watch

LOAD_SECONDS = 120.0  # in which every worker must have loaded a version
SWITCH_SECONDS = 0.0002  # after which a decoder makes room for the event loop; Python's own 5 ms are an answer's time
DRAIN_SECONDS = 30  # that requests under way have at the end


def serve(
    about: Project,
    params: CheckDataParams,
    rules: ServingRules,
    chosen: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
) -> None:
    """Answer until told to end. BadInput, DigestMismatch, EvidenceMissing and RegistryTrouble before the port opens."""
    tokens = tokens_for(host)
    follower = Follower(about.name, chosen, rules.follow.poll_seconds)
    write_json_lines()
    disable_created_metrics()
    sys.setswitchinterval(SWITCH_SECONDS)
    mp.set_start_method("spawn", force=True)  # LitServe's manager would be forked with the registry's connections
    counted = Counted()
    batching = Batching(rules.batch.most_images, rules.request.waiting)
    batching.seen = counted.batches.observe
    lit = litserve.LitServer(
        Worker(loop=batching.loop), workers_per_device=workers, timeout=False, restart_workers=True
    )
    batching.workers = workers * len(lit.devices)
    for place in range(batching.workers):
        batching.lay(place)
    watched = Workers(lit, batching, rules.request.seconds, LOAD_SECONDS)
    log = LogOut(log_place(), rules.log.flush_seconds, rules.keep.share)
    off_path = OffPath(rules.off_path, load_aside)
    limits = limits_of(params, rules.request.most_bytes, rules.request.most_pixels)
    asking = Asking(about.name, rules, limits, lambda: follower.live, batching, log, off_path, counted)
    facts = Facts(about, installed("keel"), follower, asking, watched)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await batching.open()
        loop = asyncio.get_running_loop()
        await batching.prepare(follower.live.champion, LOAD_SECONDS)
        if follower.live.challenger is not None:  # else its first image would hold up the champion's
            with suppress(NoAnswer):  # what does not load is told when it is asked; the champion is served
                await batching.prepare(follower.live.challenger, LOAD_SECONDS)

        def prepare(kept: Kept) -> None:
            asyncio.run_coroutine_threadsafe(batching.prepare(kept, LOAD_SECONDS), loop).result(LOAD_SECONDS + 5)

        async def warm() -> None:
            for kept in (follower.live.champion, follower.live.challenger):
                if kept is not None:
                    await batching.prepare(kept, LOAD_SECONDS)

        off_path.then = asking.answered_off_path
        follower.follow(prepare)
        watch = asyncio.create_task(watched.watch(warm))
        yield
        watch.cancel()
        follower.stopped.set()
        await asyncio.to_thread(off_path.close)
        await asyncio.to_thread(log.close)

    status = StatusPage(about, load_watch(about.watch), load_feedback_rules(about.feedback), facts)
    app = make_app(facts, asking, status, tokens, lifespan)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn takes them while it runs, and raises them again at its end
        signal.signal(number, lambda *_: sys.exit(1 if watched.broken else 0))
    with wrap_litserve_start(lit), watched.first_ones():
        uvicorn.Server(config).run()
