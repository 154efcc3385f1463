"""A first project file for a new image folder, written from what its metadata.csv holds, for a person to correct."""

import csv
import logging
import re
from pathlib import Path

import yaml

from tasks.errors import BadInput
from tasks.folders import read_folder
from tasks.project import NAME, Project, load_project

PROJECTS = Path("governance/projects")
DEFAULT_PLAN = Path("governance/plan.yaml")
GROUPS = ("subject", "subject_id", "patient", "patient_id", "person", "group")
MIRRORS = ("device", "scanner", "camera", "site")
NOT_SLICES = {"file_name", "label", "captured_at", "source", "consent", "licence", "split", *GROUPS}
MOST_VALUES = 12  # a column with more values than this is no slice
HEADER = """\
# Written from the folder's metadata.csv at the first release; correct it where it guessed wrong.
# Every key is described in tasks/project.py. Overrides of params.yaml go under `params:`.
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
    read_folder(data)  # what cannot be read at all leaves no project file behind
    document = guess(name, data)
    text = HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    logger.info("wrote %s from what %s holds", file, data)
    return load_project(file)


def guess(name: str, data: Path) -> dict[str, object]:
    """What the columns suggest: a group that must not be split, slices, and a mirror of deployment."""
    columns = read_columns(data / "metadata.csv")
    slices = [c for c, values in columns.items() if c not in NOT_SLICES and 2 <= len(set(values)) <= MOST_VALUES]
    here = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data  # true on other machines too
    document: dict[str, object] = {"name": name, "data": str(here), "plan": str(DEFAULT_PLAN)}
    document["group"] = next((g for g in GROUPS if g in columns), None)
    document["slices"] = slices
    mirror = guess_mirror(columns)
    if mirror:
        document["mirror"] = mirror
    document["not_applicable"] = not_applicable(mirror is not None)
    return document


def guess_mirror(columns: dict[str, list[str]]) -> dict[str, object] | None:
    """The rarest device or site when there are two or more; else the newest fifth when capture spans days."""
    for column in MIRRORS:
        values = columns.get(column, [])
        if len(set(values)) >= 2:
            return {"column": column, "values": [min(sorted(set(values)), key=values.count)]}
    if len({at[:10] for at in columns.get("captured_at", []) if at}) >= 2:
        return {"latest": 0.2}
    return None


def not_applicable(has_mirror: bool) -> dict[str, str]:
    """Criteria of the default plan that this data cannot answer, each with the reason that the verdict repeats."""
    plan = yaml.safe_load(DEFAULT_PLAN.read_text(encoding="utf-8"))
    reasons = {}
    for criterion in plan["criteria"]:
        if criterion["slice"].startswith("mirror/"):
            reasons[criterion["name"]] = f"this data has no column {criterion['slice'].split('/')[1].split('=')[0]}"
        elif criterion["slice"] == "mirror" and not has_mirror:
            reasons[criterion["name"]] = "this data shows no second device, site or day to mirror deployment with"
    return reasons


def read_columns(path: Path) -> dict[str, list[str]]:
    """The columns of a metadata.csv; nothing when the folder has none."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row.get(name) or "" for row in rows] for name in (rows[0] if rows else {})}
