"""The shape of the code: imports point one way, nouns know nothing of Prefect, both doors agree."""

import ast
import fnmatch
import hashlib
import importlib
import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template

import flows.common
import flows.release
from flows.automations import SILENCE
from tasks.backbones import RepositoryFile, load_catalogue
from tasks.digests import PLUMBING, modules_behind
from tasks.events import retraining_event
from tasks.params import Section
from tasks.plan import load_plan
from tasks.project import Project, load_project
from tasks.report import EVALUATORS
from tasks.settings import QUIET
from tasks.watch import load_watch

TASKS = sorted(p for p in Path("tasks").rglob("*.py"))
BEFOREHAND = "pretrain"  # in dvc.yaml, and no part of a release
DEPLOYMENTS = {d["name"]: d for d in yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]}
PIPELINE = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    return found | {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}


def is_verb(path: Path) -> bool:
    return bool(re.search(r"^@(stage|task)\b", path.read_text(), re.MULTILINE))


def test_tasks_never_import_flows_and_tasks_never_call_tasks() -> None:
    verbs = {f"tasks.{p.stem}" for p in TASKS if is_verb(p)}
    for path in TASKS:
        found = imports(path)
        assert not any(name.split(".")[0] == "flows" for name in found), path
        called = re.findall(r"\b(\w+)\.fn\(", path.read_text()) if path.stem != "__main__" else []
        assert not called, f"{path} calls the tasks {called}"
    assert len(verbs) <= 60


def test_the_service_imports_no_flows_and_nobody_imports_it_but_the_command_that_starts_it() -> None:
    for path in Path("service").glob("*.py"):
        assert not any(name.split(".")[0] in ("flows", "prefect") for name in imports(path)), path
    users = {p for p in [*TASKS, *Path("flows").glob("*.py")] if any(n.startswith("service") for n in imports(p))}
    assert users == {Path("flows/cli_live.py")}


def test_nouns_and_evaluators_do_not_import_prefect() -> None:
    for path in TASKS:
        if not is_verb(path) and path.stem != "stage":
            assert not any(name.split(".")[0] == "prefect" for name in imports(path)), path


def test_evaluators_import_no_verbs() -> None:
    verbs = {f"tasks.{p.stem}" for p in TASKS if is_verb(p)}
    for path in Path("tasks/evaluators").glob("*.py"):
        assert not imports(path) & verbs, path


def test_every_evaluator_is_asked_and_answers_to_the_plan() -> None:
    modules = {p.stem for p in Path("tasks/evaluators").glob("*.py")} - {"__init__"}
    assert set(EVALUATORS) == modules
    metrics = {criterion.metric for criterion in load_plan(Path("governance/plan.yaml")).criteria}
    for module in EVALUATORS.values():
        assert metrics & set(module.METRICS), f"no criterion of the plan asks for what {module.__name__} measures"


def test_logged_model_carries_no_server_library() -> None:
    for name in modules_behind("scorer"):
        roots = {found.split(".")[0] for found in imports(Path(name))}
        assert not roots & {"prefect", "mlflow", "lightning", "dvc", "great_expectations"}, name


def called_by_the_flow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    calls: list[tuple[str, dict[str, str]]] = []

    def recorder(name: str) -> Any:
        def call(**values: Any) -> Path:
            calls.append((name, {k: str(v) if isinstance(v, Path) else "params.yaml" for k, v in values.items()}))
            return values["out"]

        return call

    for name in {stage["cmd"].split()[3] for stage in PIPELINE.values()} - {BEFOREHAND}:
        monkeypatch.setattr(flows.release, name, recorder(name))
    about, run = load_project(Path("governance/projects/digits.yaml")), Path("runs/digits")
    flows.release.make_model(about, run)
    flows.release.make_verdict(about, run)
    return calls


def called_by_dvc() -> list[tuple[str, dict[str, str]]]:
    commands = [stage["cmd"].split()[3:] for stage in PIPELINE.values()]
    return [(words[0], dict(word.split("=") for word in words[1:])) for words in commands if words[0] != BEFOREHAND]


def test_dvc_and_the_flow_run_the_same_stages_with_the_same_files_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert called_by_the_flow(monkeypatch) == called_by_dvc()


def function_of(name: str) -> Any:
    return getattr(importlib.import_module(f"tasks.{name}"), name).fn


def deps_of(stage: dict[str, Any]) -> set[str]:
    """What DVC must watch: the files that the stage is given or takes unasked, and its code; no production windows."""
    name, *pairs = stage["cmd"].split()[3:]
    parameters = inspect.signature(function_of(name)).parameters
    unasked = {key: str(p.default) for key, p in parameters.items() if isinstance(p.default, Path)}
    given = {**unasked, **dict(pair.split("=") for pair in pairs)}
    files = {
        v
        for key, v in given.items()
        if parameters[key].annotation in (Path, Path | None) and key not in ("out", "project")
    }
    labelled = {"data/images", "data/metadata.csv"} if "data" in files else set()
    return files - {"data"} | labelled | set(modules_behind(name))


def params_of(stage: dict[str, Any]) -> list[Any]:
    """What DVC must watch inside YAML files: sections of params.yaml, and the keys of the project file that count."""
    name, *pairs = stage["cmd"].split()[3:]
    given = dict(pair.split("=") for pair in pairs)
    function = function_of(name)
    found: list[Any] = [
        given[key].partition(":")[2] or parameter.annotation.section
        for key, parameter in inspect.signature(function).parameters.items()
        if key in given and isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Section)
    ]
    return found + ([{given["project"]: list(function.project_keys)}] if "project" in given else [])


@pytest.mark.parametrize("name", list(PIPELINE))
def test_dvc_stage_declares_its_inputs_code_parameters_and_output(name: str) -> None:
    stage = PIPELINE[name]
    given = dict(pair.split("=") for pair in stage["cmd"].split()[4:])
    outs = [next(iter(o)) if isinstance(o, dict) else o for o in stage["outs"]]
    assert outs == [given["out"]]
    assert set(stage["deps"]) == deps_of(stage)
    assert stage.get("params", []) == params_of(stage)


def test_dvc_lock_was_made_by_this_code() -> None:
    locked = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    stale = []
    for name, stage in PIPELINE.items():
        made_by = {d["path"]: d["md5"] for d in locked.get(name, {"deps": []})["deps"]}
        code = {d: hashlib.md5(Path(d).read_bytes()).hexdigest() for d in stage["deps"] if d.startswith("tasks/")}
        if locked.get(name, {}).get("cmd") != stage["cmd"] or not code.items() <= made_by.items():
            stale.append(name)
    assert not stale, (
        f"dvc.lock was made by other code for {', '.join(stale)}; run `keel release` (or `dvc repro`; where a "
        "backbone's bytes stay the same, `dvc commit` its stage), then `dvc push`, and commit dvc.lock"
    )


def test_dvc_finds_every_project_key_that_it_watches_written_out() -> None:
    watched = [part for stage in PIPELINE.values() for part in stage.get("params", []) if isinstance(part, dict)]
    assert watched
    for file, keys in (item for part in watched for item in part.items()):
        assert set(keys) <= set(yaml.safe_load(Path(file).read_text())), f"write the missing keys into {file}"


def test_stages_use_no_key_of_the_project_beside_those_that_they_name() -> None:
    named = [path for path in TASKS if "@project_keys" in path.read_text()]
    assert {path.stem for path in named} == {s["cmd"].split()[3] for s in PIPELINE.values() if "project=" in s["cmd"]}
    for path in named:
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in ("project", "about", "load_project(project)")
        }
        used |= {"mirror"} & {name.removeprefix("tasks.") for name in imports(path)}  # tasks/mirror.py reads that key
        keys = set(function_of(path.stem).project_keys)
        assert (used & set(Project.model_fields)) - {"name"} == keys, path  # the name is said in errors alone


def test_params_have_one_section_for_each_record_and_for_each_pretrained_architecture() -> None:
    sections = set(yaml.safe_load(Path("params.yaml").read_text()))
    pretrained = {name for name, stage in PIPELINE.items() if stage["cmd"].split()[3] == BEFOREHAND}
    assert sections == {s.section for s in flows.common.SECTIONS} | pretrained


def test_every_pretrained_architecture_is_kept_under_its_name_and_listed_in_the_catalogue() -> None:
    listed = load_catalogue(Path("governance/backbones.yaml")).entries.values()
    files = {e.weights.file: e.architecture for e in listed if isinstance(e.weights, RepositoryFile)}
    recipes = yaml.safe_load(Path("params.yaml").read_text())
    made = {s["outs"][0]: recipes[s["params"][0]] for s in PIPELINE.values() if s["cmd"].split()[3] == BEFOREHAND}
    assert files == {f"{out}/backbone.safetensors": recipe["architecture"] for out, recipe in made.items()}


def test_digits_follow_params_yaml_so_that_both_doors_read_the_same_numbers() -> None:
    assert load_project(Path("governance/projects/digits.yaml")).params == {}


def test_plumbing_exists() -> None:
    assert {f"{name}.py" for name in PLUMBING} <= {p.name for p in Path("tasks").glob("*.py")}


def test_deployments_name_flows_and_parameters_that_exist() -> None:
    for deployment in DEPLOYMENTS.values():
        path, name = deployment["entrypoint"].split(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        flow = getattr(module, name)
        assert flow.name == deployment["name"], (
            "`prefect deployment run` names both, which nobody should have to look up"
        )
        parameters = inspect.signature(flow.fn).parameters
        assert set(deployment["parameters"]) <= set(parameters), deployment["name"]


def test_every_deployment_says_what_it_does_is_tagged_and_sends_no_telemetry() -> None:
    for name, deployment in DEPLOYMENTS.items():
        sent = deployment["work_pool"]["job_variables"]["env"]
        assert QUIET.items() <= sent.items(), name
        assert deployment["description"].endswith("."), name
        assert "keel" in deployment["tags"], f"flows/automations.py looks after runs with the tag alone: {name}"


def test_deployments_that_must_not_overlap_wait_for_each_other() -> None:
    for name in ("release", "nightly", "rollout", "rollback", "watchdog"):
        assert DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_nights_are_run_in_the_time_zone_that_they_are_days_of_and_the_watchdog_looks_after_them() -> None:
    zone = load_watch(Path("governance/watch.yaml")).time_zone
    hours = {}
    for name in ("nightly", "rollout", "drill", "watchdog"):
        (schedule,) = DEPLOYMENTS[name]["schedules"]
        assert schedule["timezone"] == zone, name
        hours[name] = int(schedule["cron"].split()[1])
    assert hours["nightly"] + 3 <= hours["watchdog"]
    assert hours["nightly"] < hours["rollout"]


def test_request_for_retraining_starts_a_release_of_its_project() -> None:
    (trigger,) = DEPLOYMENTS["release"]["triggers"]
    event = retraining_event("pets", {"night": "2026-06-01"})
    assert trigger["expect"] == [event.name]
    assert fnmatch.fnmatch(event.resource["prefect.resource.id"], trigger["match"]["prefect.resource.id"])
    shown = Template(trigger["parameters"]["project"]).render(event=event)
    assert shown == "pets"


def test_heartbeat_is_sent_three_times_before_a_run_is_taken_for_dead() -> None:
    for name, deployment in DEPLOYMENTS.items():
        every = int(deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        assert 3 * every <= SILENCE.seconds, name


def test_what_the_commands_of_the_readme_write_is_not_offered_to_git() -> None:
    written = ["runs/digits/model/model.json", "state/ledger.db", "dvc_plots/index.html", ".venv/.ready"]
    done = subprocess.run(["git", "check-ignore", *written], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == written


def test_great_expectations_folder_is_not_a_package() -> None:
    assert not Path("great_expectations/__init__.py").exists()
