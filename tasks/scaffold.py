"""A first project file and plan for a new image folder, written from what it holds, for a person to correct."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tasks.agreement import ANNOTATOR
from tasks.errors import BadInput, DataRejected
from tasks.folders import read_folder
from tasks.mirror import mirrored
from tasks.plan import load_plan
from tasks.project import NAME, Mirror, Project, load_project

PROJECTS = Path("governance/projects")
PLANS = Path("governance/plans")
SCAFFOLD = Path("governance/plan.scaffold.yaml")
WATCHES = Path("governance/watches")
WATCH_SCAFFOLD = Path("governance/watch.scaffold.yaml")
GROUPS = ("subject", "subject_id", "patient", "patient_id", "person", "group")
MIRRORS = ("device", "scanner", "camera", "site")
NOT_SLICES = {"path", "label", "captured_at", "source", "consent", "licence", "split", *GROUPS}
MOST_VALUES = 12  # a column with more values than this is no slice
LEAST_GROUPS = 4  # of each class outside the mirror, one for each split
HEADER = """\
# Written from the folder's metadata.csv at the first release; correct it where it guessed wrong.
# Every key is described in tasks/project.py. Overrides of params.yaml go under `params:`.
"""
PLAN_HEADER = """\
# A scaffold: its bounds suit no use case in particular. Set them for yours, with reasons, use case and owner; then
# remove `scaffold: true`. Until then every verdict and model card says that nobody has. Bounds that are set after a
# release has scored the test set need fresh images to pass.
"""
logger = logging.getLogger("tasks.scaffold")


def project_for(name: str, data: Path | None) -> Project:
    """The project's file, made first when `data` is given and there is none yet.

    Raises BadInput when there is no such project, or when the project reads another folder than `data`.
    """
    file = PROJECTS / f"{name}.yaml"
    if file.is_file():
        about = load_project(file)
        if data is not None and about.data.resolve() != data.resolve():
            raise BadInput(
                f"project {name} reads {about.data}, not {data}; change `data` in {file} or use another name"
            )
        return about
    if data is None:
        known = ", ".join(sorted(p.stem for p in PROJECTS.glob("*.yaml")))
        raise BadInput(
            f"there is no project '{name}' in {PROJECTS} (there are: {known}); for a new one give --data DIR"
        )
    if not data.is_dir():
        raise BadInput(f"--data {data} is not a folder")
    if not re.fullmatch(NAME, name):
        raise BadInput(f"'{name}' cannot name a project; take small letters, digits and hyphens, a letter first")
    images = read_folder(data)  # what cannot be read at all leaves no project file behind
    document = guess(name, data, images)
    write_plan(PLANS / f"{name}.yaml", document["slices"])
    write_watch(WATCHES / f"{name}.yaml")
    text = HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    logger.info(
        "wrote %s, its plan %s and the rules of its nights %s from what %s holds: look at all three",
        *(file, document["plan"], document["watch"], data),
    )
    return load_project(file)


def guess(name: str, data: Path, images: pd.DataFrame) -> dict[str, Any]:
    """What the columns suggest: a group that must not be split, slices, and a mirror of deployment."""
    columns = [c for c in images if c not in NOT_SLICES and not set(c) & set("/=")]  # those two spell a slice's name
    facts = [c for c in columns if not c.startswith(ANNOTATOR)]
    slices = [c for c in facts if 2 <= images[c].nunique() <= MOST_VALUES]
    group = next((g for g in GROUPS if g in images), None)
    here = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data  # true on other machines too
    document: dict[str, Any] = {"name": name, "data": str(here), "plan": str(PLANS / f"{name}.yaml")}
    document["watch"] = str(WATCHES / f"{name}.yaml")
    document |= {"group": group, "slices": slices}
    tried = list(candidates(images))
    mirror = next((m for m in tried if can_mirror(m, images, group)), None)
    if mirror is not None:
        return document | {"mirror": mirror.model_dump(exclude_defaults=True)}
    return document | {"not_applicable": without_mirror(tried)}


def candidates(images: pd.DataFrame) -> Iterator[Mirror]:
    """Devices and sites but the commonest, the rarest first; then the newest fifth, when capture spans days."""
    for column in (c for c in MIRRORS if c in images):
        counts = images[column][images[column] != ""].value_counts()
        rarest_first = sorted(counts.index, key=lambda value: (counts[value], value))
        yield from (Mirror(column=column, values=[value]) for value in rarest_first[:-1])
    if "captured_at" in images and images["captured_at"].str[:10].nunique() >= 2:
        yield Mirror(latest=0.2)


def can_mirror(mirror: Mirror, images: pd.DataFrame, group: str | None) -> bool:
    """Whether the mirror keeps each group whole and leaves enough of every class outside to learn and to judge."""
    whole = images[group] if group else images["path"]
    try:
        found = mirrored(images, whole, Project(name="new", data=Path(), group=group, mirror=mirror))
    except DataRejected:
        return False
    outside = whole[~found].groupby(images["label"]).nunique().reindex(images["label"].unique(), fill_value=0)
    return bool(found.any() and (outside >= LEAST_GROUPS).all())


def without_mirror(tried: list[Mirror]) -> dict[str, str]:
    """Criteria of a new plan that need a mirror, each with the reason that the verdict repeats."""
    names = " and ".join(dict.fromkeys(m.column or "captured_at" for m in tried))
    reason = "this data shows no second device, site or day to mirror the place of deployment with"
    if tried:
        reason = f"{names} cannot mirror it: a group would be split, a date is unclear, or a class has too little left"
    return {c.name: reason for c in load_plan(SCAFFOLD).criteria if c.slice.startswith("mirror")}


def write_watch(file: Path) -> None:
    """The project's own rules of the nights, from the scaffold; those that are there already are left as they are."""
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(WATCH_SCAFFOLD.read_text(encoding="utf-8"), encoding="utf-8")


def write_plan(file: Path, slices: list[str]) -> None:
    """The project's own plan, from the scaffold; one that is there already is left as it is."""
    if file.exists():
        return
    plan = yaml.safe_load(SCAFFOLD.read_text(encoding="utf-8"))
    [of_column] = plan["fairness"]
    fairness: Any = {"none": "The data has no slice column, so no groups can be told apart."}
    if slices:
        fairness = [of_column | {"name": f"accuracy-by-{c}", "slice": f"test/{c}=*"} for c in slices]
    text = yaml.safe_dump(plan | {"fairness": fairness}, sort_keys=False, allow_unicode=True, width=118)
    file.parent.mkdir(exist_ok=True)
    file.write_text(PLAN_HEADER + text, encoding="utf-8")
