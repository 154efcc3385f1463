"""`keel`: the door for a person. Heavy imports happen inside the commands, so that help is instant.

Exit codes: 0 PASS (or done), 1 error, 2 FAIL, 3 INCONCLUSIVE.
"""

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.errors import KeelError
from tasks.settings import Settings, find_root, prepare_environment

EXIT_CODES = {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
ProjectName = Annotated[str, typer.Option(help="A project: governance/projects/<name>.yaml.")]


@app.command()
def release(
    data: Annotated[Path | None, typer.Option(help="An image folder; needed once, for a new project.")] = None,
    project: ProjectName = "digits",
    allow_dirty: Annotated[
        bool, typer.Option(help="Accept data that differ from data.dvc; the record says so.")
    ] = False,
) -> None:
    """Check the data, fine-tune, judge against the plan, record, and promote on PASS."""
    where = data.absolute() if data else None
    with checkout() as chosen:
        from tasks.scaffold import project_for

        project_for(project, where)
        with progress():
            from flows.release import release as flow

            quiet_prefect()
            outcome = flow(project=project, allow_dirty=allow_dirty)
        typer.echo("")
        for sentence in outcome.criteria:
            typer.echo(f"  {sentence}")
        typer.echo(f"\n{outcome.sentence}")
        typer.echo(f"decision {outcome.decision} of {project}; `keel show` prints it in full")
        typer.echo(f"champion: version {outcome.version}" if outcome.version else "nothing was promoted")
        typer.echo(f"model card: {outcome.card}")
        typer.echo(f"runs and models: {chosen.tracking_uri} (`keel ui` says how to look at them)")
        raise typer.Exit(EXIT_CODES[outcome.verdict])


@app.command()
def status(project: ProjectName = "digits") -> None:
    """Champion, challenger, previous, data version and the last verdict."""
    with checkout() as chosen:
        from tasks.project import load_project
        from tasks.registry import Registry
        from tasks.summary import status_lines

        about = load_project(Path("governance/projects") / f"{project}.yaml")
        for line in status_lines(Registry(about.name, chosen), about):
            typer.echo(line)


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(help="last, a decision's number, or a version: v1, champion, previous.")
    ] = "last",
    project: ProjectName = "digits",
) -> None:
    """A verdict or a model version in full."""
    with checkout() as chosen:
        from tasks.registry import Registry
        from tasks.summary import in_full

        typer.echo(in_full(Registry(project, chosen), what))


@app.command()
def doctor(project: ProjectName = "digits") -> None:
    """Is everything in order: data, DVC remote, backbones, registry, ledger, servers."""
    with checkout() as chosen:
        from tasks.checkup import checkup

        sick = 0
        for name, trouble, sentence in checkup(project, chosen):
            typer.echo(f"{'TROUBLE' if trouble else 'ok':8}{name:18}{sentence}")
            sick += trouble
        if sick:
            raise typer.Exit(1)


@app.command()
def ui() -> None:
    """How to look at runs, models and flows in a browser."""
    with checkout() as chosen:
        store = "" if chosen.artifacts is None else f"mlflow ui --backend-store-uri {chosen.tracking_uri} --port 5000"
        typer.echo(f"MLflow:  {store or 'already a server'}")
        typer.echo(f"         {'http://127.0.0.1:5000' if store else chosen.tracking_uri}")
        typer.echo(f"Prefect: PREFECT_HOME={os.environ['PREFECT_HOME']} prefect server start --analytics-off")
        typer.echo(
            "         http://127.0.0.1:4200; to send runs there: PREFECT_API_URL=http://127.0.0.1:4200/api keel release"
        )


@contextmanager
def checkout() -> Iterator[Settings]:
    """Work from the checkout's root; show expected errors as their sentence, keep the traceback of others in a file."""
    try:
        os.chdir(find_root(Path.cwd()))
        sys.path.insert(0, str(Path.cwd()))
        yield prepare_environment()
    except KeelError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from error
    except typer.Exit:
        raise
    except Exception as error:
        typer.echo(unexpected(error), err=True)
        raise typer.Exit(1) from error


def unexpected(error: Exception) -> str:
    """One sentence for an error nobody planned for."""
    api = os.environ.get("PREFECT_API_URL")
    if type(error).__module__.startswith("httpx") or "Failed to reach API" in str(error):
        return f"the Prefect API at {api} does not answer ({error}); start it, or unset PREFECT_API_URL to run without"
    if isinstance(error, OSError) and error.errno == 28:
        return f"the disk is full ({error.filename}); what was finished is kept: make room and run the same command"
    place = Path("state/last-error.txt")
    try:
        place.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return f"unexpected {type(error).__name__}: {error} (traceback in {place}); what was finished is kept"
    except OSError:
        return f"unexpected {type(error).__name__}: {error}"


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


def quiet_prefect() -> None:
    """Leave Prefect's own lines to its API; the terminal shows ours."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "tasks", "flows"):
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if not isinstance(h, PrefectConsoleHandler)]
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="mlflow")


def main() -> None:
    """The console script."""
    app()
