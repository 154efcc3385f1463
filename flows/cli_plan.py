"""`keel plan`: the evaluation plan, before there is anything to judge by it."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import ProjectName, app, checkout

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
