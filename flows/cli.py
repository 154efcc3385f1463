"""`keel`: the door for a person. Heavy imports happen inside the commands, so that help is instant.

Exit codes: 0 PASS (or done), 1 error, 2 FAIL, 3 INCONCLUSIVE.
"""

import errno
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tasks.errors import BadInput, KeelError
from tasks.settings import Settings, find_root, prepare_environment, settings, without_password

EXIT_CODES = {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}
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


app = typer.Typer(cls=Door, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
ProjectName = Annotated[str, typer.Option(help="A project: governance/projects/<name>.yaml.")]
Dirty = Annotated[bool, typer.Option(help="Accept data that differ from data.dvc; the record says so.")]
KeyFile = Annotated[Path, typer.Option(help="Your private key; `keel key new` makes one.")]
Reason = Annotated[str, typer.Option(help="The reason, for whoever reads this later.")]
Quick = Annotated[bool, typer.Option(help="Fewer labels, rates and epochs: params.yaml, certify.quick.")]


@app.command()
def release(
    data: Annotated[Path | None, typer.Option(help="An image folder; needed once, for a new project.")] = None,
    project: ProjectName = "digits",
    allow_dirty: Dirty = False,
) -> None:
    """Check the data, fine-tune, judge against the plan, record, and promote on PASS."""
    where = data.resolve() if data else None  # before the checkout's root becomes the working folder
    with checkout(project) as chosen:
        with progress():
            logging.getLogger("flows").info("loading the libraries")  # which takes long enough to look dead
            from tasks.scaffold import project_for

            project_for(project, where)
            check_room(chosen.state, Path.cwd())
            from flows.release import release as flow

            quiet_prefect()
            outcome = flow(project=project, allow_dirty=allow_dirty)
        typer.echo("")
        for sentence in outcome.criteria:
            typer.echo(f"  {sentence}")
        typer.echo(f"\n{outcome.sentence}")
        if outcome.report is None:
            typer.echo(f"entry {outcome.decision} of the ledger; nothing was scored, decided or promoted")
            raise typer.Exit(EXIT_CODES[outcome.verdict])
        typer.echo(f"decision {outcome.decision} of {project}; `keel show` prints it in full")
        typer.echo(f"champion: version {outcome.version}" if outcome.version else "nothing was promoted")
        for sentence in outcome.waiting:
            typer.echo(f"  {sentence}")
        if outcome.waiting:
            typer.echo(f"  then `keel release --project {project}` again promotes it; what is unchanged is kept")
        typer.echo(f"report: {outcome.report}")
        typer.echo(f"runs and models: {without_password(chosen.tracking_uri)} (`keel ui` says how to look at them)")
        raise typer.Exit(EXIT_CODES[outcome.verdict])


@app.command()
def certify(project: ProjectName = "digits", quick: Quick = False, allow_dirty: Dirty = False) -> None:
    """Was transfer worth it: scratch, probe, full, LP-FT and gradual over labels and seeds, with what one may claim."""
    show_study("certify", project, quick, allow_dirty)


@app.command()
def ablate(project: ProjectName = "digits", quick: Quick = False, allow_dirty: Dirty = False) -> None:
    """What each ingredient of the recipe is worth: the same training with one left out at a time."""
    show_study("ablate", project, quick, allow_dirty)


def show_study(name: str, project: str, quick: bool, allow_dirty: bool) -> None:
    """Run the flow of that name and print its sentences."""
    with checkout(project) as chosen:
        with progress():
            logging.getLogger("flows").info("loading the libraries")
            check_room(chosen.state, Path.cwd())
            import flows.certify

            quiet_prefect()
            outcome = getattr(flows.certify, name)(project=project, quick=quick, allow_dirty=allow_dirty)
        for subject, sentences in {**outcome.claims, "What was not shown": outcome.not_shown}.items():
            typer.echo(f"\n{subject}")
            for sentence in sentences:
                typer.echo(f"  {sentence}")
        typer.echo(f"\nentry {outcome.entry} of the ledger; page: {outcome.page}")


plan_app = typer.Typer(no_args_is_help=True, help="The evaluation plan: is it sound, what changed, what can it show.")
app.add_typer(plan_app, name="plan")


@plan_app.command("check")
def plan_check(
    file: Annotated[Path | None, typer.Argument(help="A plan file; governance/plan.yaml if none is given.")] = None,
) -> None:
    """Load a plan and say what is in force, or name the fault."""
    file = file.absolute() if file else Path("governance/plan.yaml")
    with checkout():
        import datetime as dt

        from tasks.plan import load_plan
        from tasks.plan_text import describe_plan

        typer.echo("\n".join(describe_plan(load_plan(file), dt.date.today())))


@plan_app.command("diff")
def plan_diff(old: Path, new: Path) -> None:
    """What changed from one plan file to another, criterion by criterion: stricter, looser, new or gone."""
    old, new = old.absolute(), new.absolute()
    with checkout():
        from tasks.plan import load_plan
        from tasks.plan_text import describe_changes

        typer.echo("\n".join(describe_changes(load_plan(old), load_plan(new))))


@plan_app.command("power")
def plan_power(
    project: ProjectName = "digits",
    n: Annotated[int | None, typer.Option(min=1, help="Images in each slice; needed while nothing is split.")] = None,
    true: Annotated[list[str] | None, typer.Option(help="A true value to reckon with, as criterion=value.")] = None,
    disagreement: Annotated[float, typer.Option(min=0, max=1, help="Share of images that only one model gets.")] = 0.1,
) -> None:
    """Before any result: how good a model must be to pass, and how many images it takes."""
    with checkout(project):
        from tasks.power import power_lines

        for line in power_lines(project, n, true or [], disagreement):
            typer.echo(line)


@app.command()
def approve(
    key: KeyFile,
    why: Reason,
    decision: Annotated[str, typer.Argument(help="last, or a decision's number.")] = "last",
    project: ProjectName = "digits",
    just_print: Annotated[bool, typer.Option("--print", help="Print the signed line; enter nothing.")] = False,
) -> None:
    """Stand by a decision with a signature; once every role that its plan asks has, `keel release` promotes."""
    key = key.absolute()
    with checkout(project) as chosen:
        from tasks.registry import Registry
        from tasks.sign_off import approve as give_approval

        for line in give_approval(Registry(project, chosen), decision, key, why, just_print):
            typer.echo(line)


@app.command()
def waive(
    criterion: Annotated[str, typer.Argument(help="A criterion of the project's plan.")],
    until: Annotated[str, typer.Option(help="The last day on which it is waived: 2026-12-31.")],
    why: Reason,
    key: Annotated[Path | None, typer.Option(help="The private key of whoever waives it.")] = None,
    project: ProjectName = "digits",
) -> None:
    """Let a criterion that is not met count as a warning until a day, by name and for a reason."""
    key = key.absolute() if key else None
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import waive as give_waiver

        typer.echo(give_waiver(Ledger(chosen.ledger_url), project, criterion, until, why, key))


risk_app = typer.Typer(no_args_is_help=True, help="The risk register: what stands open, and who accepted what.")
app.add_typer(risk_app, name="risk")


@risk_app.command("list")
def risk_list(project: ProjectName = "digits") -> None:
    """Each risk of the project as it stands with the last decision, and what it stops."""
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import risk_lines

        typer.echo("\n".join(risk_lines(Ledger(chosen.ledger_url), project)))


@risk_app.command("accept")
def risk_accept(
    risk: Annotated[str, typer.Argument(metavar="ID", help="A risk of governance/risks.yaml.")],
    key: KeyFile,
    why: Reason,
    project: ProjectName = "digits",
) -> None:
    """Accept a risk as it is worded, until its review, with a signature."""
    key = key.absolute()
    with checkout(project) as chosen:
        from tasks.ledger import Ledger
        from tasks.sign_off import accept_risk

        typer.echo(accept_risk(Ledger(chosen.ledger_url), project, risk, key, why))


key_app = typer.Typer(no_args_is_help=True, help="Keys to sign approvals, waivers and acceptances with.")
app.add_typer(key_app, name="key")


@key_app.command("new")
def key_new(path: Annotated[Path, typer.Argument(help="The file for the private key; it must not exist yet.")]) -> None:
    """Write a new private key that only you can read, and print what to add to governance/roles.yaml."""
    path = path.absolute()
    with checkout():
        from tasks.sign_off import key_lines

        typer.echo("\n".join(key_lines(path)))


@app.command()
def status(project: ProjectName = "digits") -> None:
    """Champion, challenger, previous, data version and the last verdict."""
    with checkout(project) as chosen:
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
    with checkout(project) as chosen:
        from tasks.registry import Registry
        from tasks.summary import in_full

        typer.echo(in_full(Registry(project, chosen), what))


@app.command()
def doctor(project: ProjectName = "digits") -> None:
    """Is everything in order: data, DVC remote, backbones, registry, ledger, servers."""
    with checkout(project) as chosen:
        from tasks.checkup import checkup

        sick = 0
        for name, trouble, sentence in checkup(project, chosen):
            typer.echo(f"{'TROUBLE' if trouble else 'ok':8}{name:18}{sentence}")
            sick += trouble
        if sick:
            raise typer.Exit(1)


@app.command()
def audit(project: ProjectName = "digits") -> None:
    """Does everything that was published still say what the ledger says; repairs nothing."""
    with checkout(project) as chosen:
        from tasks.audit_trail import audit as audit_trail
        from tasks.registry import Registry

        faults = 0
        for name, at_fault, sentence in audit_trail(Registry(project, chosen)):
            typer.echo(f"{'FAULT' if at_fault else 'ok':8}{name:18}{sentence}")
            faults += at_fault
        typer.echo(f"\n{faults or 'no'} fault{'' if faults == 1 else 's'} in what is on record of {project}")
        if faults:
            raise typer.Exit(1)


@app.command()
def replay(
    decision: Annotated[str, typer.Argument(help="last, or a decision's number.")] = "last",
    project: ProjectName = "digits",
) -> None:
    """Recompute a decision's findings and verdict from its bundle in MLflow, and compare them bit for bit."""
    with checkout(project) as chosen:
        from tasks.registry import Registry
        from tasks.replay import replay as replay_decision
        from tasks.summary import find_decision

        registry = Registry(project, chosen)
        outcome = replay_decision(registry, find_decision(registry, decision))
        typer.echo(outcome.text())
        if not outcome.identical:
            raise typer.Exit(1)


@app.command()
def why(
    when: Annotated[str, typer.Argument(metavar="DATE", help="2026-11-25, or a time such as 2026-11-25T14:30; UTC.")],
    project: ProjectName = "digits",
) -> None:
    """What was live on a day: which data, which plan, by whose decision, from when to when."""
    with checkout(project) as chosen:
        import datetime as dt

        from tasks.history import why as why_live
        from tasks.ledger import Ledger

        typer.echo(why_live(project, Ledger(chosen.ledger_url).sound(project), when, dt.datetime.now(dt.UTC)))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A version: v1, champion, previous.")],
    now: Annotated[str, typer.Argument(help="Another one.")],
    project: ProjectName = "digits",
) -> None:
    """Two versions side by side: data, parameters, figures, and the images that flipped."""
    with checkout(project) as chosen:
        from tasks.difference import difference
        from tasks.registry import Registry
        from tasks.summary import find_version

        registry = Registry(project, chosen)
        typer.echo(difference(registry, find_version(registry, before), find_version(registry, now)))


@app.command()
def changelog(project: ProjectName = "digits") -> None:
    """The releases in Markdown: what each changed in data, model and plan."""
    with checkout(project) as chosen:
        from tasks.history import changelog as releases
        from tasks.ledger import Ledger

        typer.echo(releases(project, Ledger(chosen.ledger_url).sound(project)))


@app.command()
def ui() -> None:
    """How to look at runs, models and flows in a browser."""
    with checkout() as chosen:
        place = without_password(chosen.tracking_uri)
        store = "" if chosen.artifacts is None else f"mlflow ui --backend-store-uri {place} --port 5000"
        typer.echo(f"MLflow:  {store or 'already a server'}")
        typer.echo(f"         {'http://127.0.0.1:5000' if store else place}")
        typer.echo(f"Prefect: PREFECT_HOME={os.environ['PREFECT_HOME']} prefect server start --analytics-off")
        typer.echo(
            "         http://127.0.0.1:4200; to send runs there: PREFECT_API_URL=http://127.0.0.1:4200/api keel release"
        )


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


def quiet_prefect() -> None:
    """Leave Prefect's own lines to its API; the terminal shows ours."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "tasks", "flows"):
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if not isinstance(h, PrefectConsoleHandler)]
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # else Prefect writes to the terminal that a line of log did not reach its API
    warnings.filterwarnings("ignore", module="mlflow")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
