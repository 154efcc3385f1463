"""`keel audit`, `replay`, `why`, `diff` and `changelog`: what auditors ask the records."""

from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout


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
