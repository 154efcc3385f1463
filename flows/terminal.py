"""What every command of `keel` shares: where it works, how it fails, and what it shows meanwhile."""

import errno
import logging
import os
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tasks.errors import BadInput, KeelError
from tasks.settings import Settings, find_root, prepare_environment, settings, without_password

HELP = """`keel`: the door for a person. Heavy imports happen inside the commands, so that help is instant.

Exit codes: 0 PASS (or done), 1 error, 2 FAIL, 3 INCONCLUSIVE.
"""
USAGE: Any = typer.BadParameter.__bases__[0]  # the error of a wrong command line, wherever this Typer keeps it
ROOM = 50_000_000  # bytes; Prefect's own server, given less than 5 million, does not start and never says why
FULL = 1_000_000  # bytes; with less than this left, whatever failed failed for want of room
# Prefect's own server and MLflow write tracebacks and first-use notes to the terminal; errors reach us all the same.
SILENT = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "MLFLOW_LOGGING_LEVEL": "WARNING"}


class Door(TyperGroup):
    """The commands; a wrong command line ends with 1, because 2 says FAIL."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options before the command."""
        with usage_is_an_error():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read the command and its options, and run it."""
        with usage_is_an_error():
            return super().invoke(ctx)


@contextmanager
def usage_is_an_error() -> Iterator[None]:
    """Give a wrong command line the exit code of every other error."""
    try:
        yield
    except USAGE as error:
        error.exit_code = 1
        raise


app = typer.Typer(cls=Door, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
ProjectName = Annotated[str, typer.Option(help="A project: governance/projects/<name>.yaml.")]


@contextmanager
def checkout(project: str | None = None) -> Iterator[Settings]:
    """Work from the checkout's root; show expected errors as their sentence, keep the traceback of others in a file."""
    try:
        os.chdir(find_root(Path.cwd()))
        sys.path.insert(0, str(Path.cwd()))
        for key, value in SILENT.items():
            os.environ.setdefault(key, value)
        if project is not None:
            from tasks.project import check_name

            check_name(project)
        yield prepare_environment()
    except KeelError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from error
    except typer.Exit:
        raise
    except Exception as error:
        typer.echo(unexpected(error), err=True)
        raise typer.Exit(1) from error


def check_room(*places: Path) -> None:
    """Refuse to begin what the disk cannot hold."""
    for place in places:
        free = shutil.disk_usage(place).free
        if free < ROOM:
            raise BadInput(f"{place} has {free / 1e6:.0f} MB left and a release may need {ROOM / 1e6:.0f}; make room")


def unexpected(error: Exception) -> str:
    """One sentence for an error nobody planned for."""
    api = os.environ.get("PREFECT_API_URL")
    if type(error).__module__.startswith("httpx") or "Failed to reach API" in str(error):
        if api:
            way_out = "start it, or unset PREFECT_API_URL to run without"
            return f"the Prefect API at {without_password(api)} does not answer ({error}); {way_out}"
        way_out = "run the same command again, or start a lasting server (`keel ui` says how) and set PREFECT_API_URL"
        return f"the server that Prefect starts for one run does not answer ({error}); {way_out}"
    if is_full(error):
        return f"the disk is full ({Path.cwd()}); what was finished is kept: make room and run the same command"
    what = " ".join(f"unexpected {type(error).__name__}: {error}".split())
    place = settings().state / "last-error.txt"
    try:
        place.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
        return f"{what} (traceback in {shown}); what was finished is kept"
    except OSError:
        return what


def is_full(error: Exception) -> bool:
    """Whether the disk is what failed; libraries and servers say so in words of their own, or not at all."""
    said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return said or "No space left" in str(error) or shutil.disk_usage(Path.cwd()).free < FULL


@contextmanager
def progress() -> Iterator[None]:
    """Show what `tasks` and `flows` log: plain lines when piped, with a moving line for detail on a terminal."""
    handler: logging.Handler = Lines()
    if sys.stderr.isatty():
        from rich.console import Console

        handler = Moving(Console(stderr=True))
    for name in ("tasks", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in ("tasks", "flows"):
            logging.getLogger(name).removeHandler(handler)
        handler.close()


class Lines(logging.Handler):
    """Each message on a line of its own, with the seconds since the start."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write to standard error, so that standard output holds the outcome alone."""
        print(f"[{time.perf_counter() - self.start:6.1f} s] {record.getMessage()}", file=sys.stderr, flush=True)


class Moving(Lines):
    """On a terminal, messages marked `extra={"detail": True}` share one moving line."""

    def __init__(self, console: Any) -> None:
        super().__init__()
        self.console = console
        self.status = console.status("starting")
        self.status.start()

    def emit(self, record: logging.LogRecord) -> None:
        """A detail replaces the last one; anything else stays above it."""
        text = f"[{time.perf_counter() - self.start:6.1f} s] {record.getMessage()}"
        if getattr(record, "detail", False):
            self.status.update(text.replace("[", r"\["))
        else:
            self.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Take the moving line away."""
        self.status.stop()
        super().close()


@contextmanager
def server_ahead() -> Iterator[None]:
    """While the libraries of a flow load, start the server that Prefect, given none, would start for it after that.

    A start that fails is left for the flow, which tries again and says why.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    def start() -> None:
        with suppress(Exception):
            SubprocessASGIServer().start()

    starting = threading.Thread(target=start, name="prefect-server", daemon=True)
    starting.start()
    try:
        yield
    finally:
        starting.join()


def quiet_prefect() -> None:
    """Leave Prefect's own lines to its API; the terminal shows ours."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "tasks", "flows"):
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if not isinstance(h, PrefectConsoleHandler)]
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # else Prefect writes to the terminal that a line of log did not reach its API
    warnings.filterwarnings("ignore", module="mlflow")
