"""The data contracts: what is asked of the labelled images, of a split, and of a production window.

Great Expectations does the checking. `python -m tasks build_contracts` makes the committed folder great_expectations/
of tasks/rules.py, and a run only loads it. What differs from one data set to another (classes, bounds) goes in as Great
Expectations' runtime parameters.
"""

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from tasks.errors import BadInput, DataRejected, EvidenceMissing
from tasks.folders import MEASURED
from tasks.params import CheckDataParams
from tasks.rules import LABELLED, LEARNT_AND_JUDGED, SPLIT, SUITES, WINDOW, Rule

CONTEXT = Path("great_expectations")
UNCOMMITTED = "uncommitted"
FIRST = 5  # images named for each broken rule
SHOWN = 10  # values listed in a sentence
logger = logging.getLogger("tasks.contracts")
_one_at_a_time = threading.Lock()  # Great Expectations keeps its context in a global


@dataclass(frozen=True)
class Check:
    """How one rule fared: `unexpected` rows break it (None for a rule about the whole table), `first` names some."""

    name: str
    says: str
    success: bool
    unexpected: int | None
    first: tuple[str, ...]
    observed: str

    def sentence(self) -> str:
        """The rule, and what was found instead."""
        rows = f"{self.unexpected} break it, the first: {', '.join(self.first)}" if self.unexpected else ""
        return f"{self.says}: {rows or 'found ' + self.observed}"


@dataclass(frozen=True)
class ContractResult:
    """All rules of one contract, in its order; `docs` is the first page of the Data Docs, if they are kept."""

    suite: str
    rows: int
    success: bool
    checks: tuple[Check, ...]
    docs: Path | None

    def record(self) -> dict[str, Any]:
        """For contract.json: no times, no random names, nothing of the machine."""
        return {key: value for key, value in asdict(self).items() if key != "docs"}


def image_parameters(params: CheckDataParams, classes: list[str]) -> dict[str, Any]:
    """The runtime parameters of the contracts `labelled` and `window`, for `run_contract`; it takes those it needs."""
    return params.model_dump() | {"classes": sorted(classes)}


def image_frame(images: pd.DataFrame, group: str | None, params: CheckDataParams) -> pd.DataFrame:
    """The table that the contracts `labelled` and `window` read, from measured images.

    An empty cell becomes a missing one. Without a group column every image is its own group; without a column of
    consents or licences nothing is asked, unless `params` requires it.
    """
    frame = images.filter(items=["path", *MEASURED])
    frame["label"] = images["label"].where(images["label"] != "", None)
    whole = images[group] if group else images["path"]
    frame["group"] = whole.where(whole != "", None)
    for column, required in (("consent", params.require_consent), ("licence", params.require_licence)):
        frame[column] = images.get(column, "" if required else None)
    return frame


def _with_class_size(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(class_size=frame.groupby("label")["path"].transform("size"))


def _with_split_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    frame = manifest.mask(manifest == "")
    splits = frame.groupby("label")["split"].agg(set)
    lacks = {label: [s for s in LEARNT_AND_JUDGED if s not in present] for label, present in splits.items()}
    said = {
        label: f"class {label}: none in {', '.join(missing)}" if missing else "" for label, missing in lacks.items()
    }
    return frame.assign(
        groups_splits=frame.groupby("group")["split"].transform("nunique"),
        sha256_splits=frame.groupby("sha256")["split"].transform("nunique"),
        class_lacks=frame["label"].map(said).mask(frame["label"].duplicated(), ""),  # a class is named once
        test_groups=frame.loc[frame["split"] == "test", "group"].nunique(),
    )


DERIVED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    LABELLED: _with_class_size,
    SPLIT: _with_split_columns,
    WINDOW: lambda frame: frame,
}


def run_contract(suite: str, frame: pd.DataFrame, parameters: dict[str, Any], root: Path = CONTEXT) -> ContractResult:
    """Check a table against one of the committed contracts; under `root` only uncommitted/ is written to.

    Raises BadInput for an unknown contract or a parameter that is not given, EvidenceMissing when Great Expectations
    has not checked exactly the rules of the contract.
    """
    rules = SUITES.get(suite, ())
    if not rules or not (root / "checkpoints" / f"{suite}.json").is_file():
        raise BadInput(
            f"there is no contract '{suite}' in {root.absolute()}; the contracts are {', '.join(SUITES)}, "
            "in the folder great_expectations/ of the repository; run from its root"
        )
    needed = sorted(set().union(*(rule.parameters for rule in rules)))
    missing = [name for name in needed if parameters.get(name) is None]
    if missing:
        raise BadInput(
            f"the contract '{suite}' needs the parameters {', '.join(needed)}; missing: {', '.join(missing)}"
        )
    given = {name: parameters[name] for name in needed}
    with _one_at_a_time, _workplace(root) as place:
        results = _checkpoint(place, suite, _derive(suite, frame), given)
        docs = _keep_docs(place, root, suite)
    checks = _match(rules, results, given)
    result = ContractResult(suite, len(frame), all(check.success for check in checks), checks, docs)
    kept = sum(check.success for check in checks)
    logger.info("contract %s: %d of %d rules hold for %d rows; %s", suite, kept, len(checks), len(frame), docs or "")
    return result


def raise_if_rejected(result: ContractResult) -> None:
    """Raise DataRejected with a sentence for each broken rule."""
    broken = [check.sentence() for check in result.checks if not check.success]
    if broken or not result.success or not result.checks:
        raise DataRejected(
            f"the data contract '{result.suite}' is broken: {len(broken)} of its {len(result.checks)} rules, "
            f"on {result.rows} rows; correct the data, or a bound in params.yaml that is wrong for it\n- "
            + "\n- ".join([*broken, f"in full: {result.docs}"] if result.docs else broken)
        )


def _derive(suite: str, frame: pd.DataFrame) -> pd.DataFrame:
    try:
        return DERIVED[suite](frame)
    except KeyError:  # a column is missing: the rules about columns say so
        return frame


@contextmanager
def _workplace(root: Path) -> Iterator[Path]:
    """A copy of the committed files to run in: runs cannot meet there, and a read-only checkout is enough."""
    try:
        (root / UNCOMMITTED).mkdir(exist_ok=True)
        folder = tempfile.mkdtemp(prefix="run-", dir=root / UNCOMMITTED)
    except OSError:
        folder = tempfile.mkdtemp(prefix="keel-contract-")
    try:
        place = Path(folder).resolve() / CONTEXT.name
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(UNCOMMITTED))
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checkpoint(place: Path, suite: str, frame: pd.DataFrame, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells a hundred lines on being imported
    import great_expectations as gx

    context = gx.get_context(mode="file", context_root_dir=place)
    run = context.checkpoints.get(suite).run(
        batch_parameters={"dataframe": frame},
        expectation_parameters=parameters,
        run_id=gx.RunIdentifier(run_name=suite),
    )
    return [result.to_json_dict() for suite in run.run_results.values() for result in suite.results]


def _keep_docs(place: Path, root: Path, suite: str) -> Path | None:
    """Put the run's Data Docs in the place of the contract's last ones; none are kept in a read-only checkout."""
    if not place.is_relative_to(root.resolve()):
        logger.warning("%s cannot be written to: no Data Docs are kept", root)
        return None
    kept = root / UNCOMMITTED / "data_docs" / suite
    with FileLock(root / UNCOMMITTED / "data_docs.lock"):
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        (place / UNCOMMITTED / "data_docs").rename(kept)
    return kept / "index.html"


def _match(rules: tuple[Rule, ...], results: list[dict[str, Any]], given: dict[str, Any]) -> tuple[Check, ...]:
    """One check a rule. Great Expectations drops an expectation that it cannot load, and then reports success."""
    asked = sorted((rule.name, rule.kind) for rule in rules)
    config = "expectation_config"
    answered = sorted((str(r[config]["meta"].get("name")), r[config]["type"]) for r in results)
    if asked != answered:
        lost, extra = [x for x in asked if x not in answered], [x for x in answered if x not in asked]
        raise EvidenceMissing(
            f"Great Expectations checked {len(answered)} rules, not the {len(asked)} of the contract; not checked: "
            f"{lost}, unknown: {extra}; run `python -m tasks build_contracts out=great_expectations`"
        )
    by_name = {r[config]["meta"]["name"]: r for r in results}
    return tuple(_check(rule, by_name[rule.name], given) for rule in rules)


def _check(rule: Rule, result: dict[str, Any], given: dict[str, Any]) -> Check:
    details = result["result"]
    rows = details.get("partial_unexpected_index_list") or []
    column = rule.arguments.get("column", "")
    first = tuple(f"{row['path']} ({_short(row.get(column))})" for row in rows[:FIRST])
    says = rule.says.format(**{name: _short(value) for name, value in given.items()})
    success = result["success"] is True and bool(details)
    return Check(rule.name, says, success, details.get("unexpected_count"), first, _observed(result, success))


def _observed(result: dict[str, Any], success: bool) -> str:
    details = result["result"]
    if not details:
        info = result["exception_info"]
        messages = [part.get("exception_message") for part in (info, *info.values()) if isinstance(part, dict)]
        return f"that it cannot be checked ({next(filter(None, messages), 'no reason given')})"
    missing = details.get("partial_missing_list") or details.get("details", {}).get("mismatched", {}).get("missing")
    if missing:
        return f"none of {_short(missing)}"
    found = details.get("observed_value")
    if found is None or isinstance(found, list):
        return "as asked" if success else _short(details.get("partial_unexpected_list", found))
    return _short(found)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:SHOWN])) + (f" and {len(value) - SHOWN} more" if len(value) > SHOWN else "")
    if value is None or value == "":
        return "empty"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
