"""`keel rollback`, `drill` and `incident`: put an earlier version back, rehearse it, and tell what happened."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout, progress, quiet_prefect, server_ahead

Version = Annotated[str | None, typer.Argument(help="v1 or 1, one that was in use before; none: the previous one.")]


@app.command()
def rollback(
    why: Annotated[str, typer.Option(help="The reason, for whoever reads this later.")],
    version: Version = None,
    project: ProjectName = "digits",
) -> None:
    """Put an earlier version back as champion, verified before and after; the record says that a person did."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.rollback import rollback as flow
            quiet_prefect()
            done = flow(project=project, version=number_of(version), why=why).body
        typer.echo(f"champion: version {done['version']} of {project}, in place of version {done['left']}")
        typer.echo(checked(done["smoke"]))
        typer.echo(f"{done['seconds']:.1f} s from the first check to the last; `keel status` shows where things stand")


@app.command()
def drill(version: Version = None, project: ProjectName = "digits") -> None:
    """Rehearse a rollback: everything but the move, with the seconds it takes; the ledger keeps the outcome."""
    with checkout(project):
        with progress():
            with server_ahead():
                from flows.rollback import drill as flow
            quiet_prefect()
            entry = flow(project=project, version=number_of(version))
        if not entry.body["held"]:
            typer.echo(f"a rollback would not hold: {entry.body['why_not']} (entry {entry.number})")
            raise typer.Exit(1)
        typer.echo(f"a rollback of {project} to version {entry.body['version']} would hold (entry {entry.number})")
        typer.echo(f"{checked(entry.body['smoke'])}, in {entry.body['smoke']['seconds']:.1f} s; nothing was moved")


@app.command()
def incident(
    what: Annotated[str, typer.Argument(metavar="ID", help="last, or the number of an incident's entry.")] = "last",
    project: ProjectName = "digits",
) -> None:
    """Write the page of an incident: timeline, evidence, what was done, what is to be done, messages to send."""
    with checkout(project) as chosen:
        from tasks.incident_page import write_incident
        from tasks.ledger import Ledger
        from tasks.plan import load_plan
        from tasks.project import load_project

        owner = load_plan(load_project(Path("governance/projects") / f"{project}.yaml").plan).owner
        entries = Ledger(chosen.ledger_url).sound(project)
        typer.echo(write_incident(project, entries, what, owner, Path("runs") / project / "incidents"))


def number_of(version: str | None) -> str | None:
    """`v2` and `2` name the same version."""
    return version.removeprefix("v") if version else None


def checked(smoke: dict[str, object]) -> str:
    """What was asked of the version, in words."""
    missed = list(smoke["new_cases_missed"])  # type: ignore[call-overload]
    later = f"; it reads later cases wrong: {', '.join(missed)}" if missed else ""
    return (
        f"its {smoke['golden']} golden answers are at most {smoke['apart']:.1e} apart, and all "
        f"{smoke['cases']} must-pass cases that it was accepted with are read right{later}"
    )
