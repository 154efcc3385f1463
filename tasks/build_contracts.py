"""Build the committed folder of Great Expectations from the rules in tasks/rules.py.

`python -m tasks build_contracts out=great_expectations`, to be run and committed when a rule changes. The same rules
give the same bytes: the random ids that Great Expectations draws are replaced by ids made of the file and the place.
"""

import logging
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import FIRST, UNCOMMITTED
from tasks.rules import SUITES, Rule

CONFIG = "great_expectations.yml"
COMMITTED = (CONFIG, ".gitignore", "checkpoints", "expectations", "validation_definitions")
CONFIGURATION = """\
# The data contracts. Built by `python -m tasks build_contracts out=great_expectations`; not edited by hand.
config_version: 4.0
analytics_enabled: false
progress_bars:
  globally: false
plugins_directory:
stores:
  expectations_store:
    class_name: ExpectationsStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: expectations/
  validation_results_store:
    class_name: ValidationResultsStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: uncommitted/validations/
  checkpoint_store:
    class_name: CheckpointStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: checkpoints/
  validation_definition_store:
    class_name: ValidationDefinitionStore
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: validation_definitions/
expectations_store_name: expectations_store
validation_results_store_name: validation_results_store
checkpoint_store_name: checkpoint_store
data_docs_sites:
  pages:
    class_name: SiteBuilder
    show_how_to_buttons: false
    store_backend:
      class_name: TupleFilesystemStoreBackend
      base_directory: uncommitted/data_docs/
    site_index_builder:
      class_name: DefaultSiteIndexBuilder
"""
RANDOM_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@task(cache_policy=NO_CACHE)
def build_contracts(out: Path) -> Path:
    """Write the committed files into the folder `out`, over those that are there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "great_expectations"
        _build(place)
        _settle_ids(place)
        out.mkdir(parents=True, exist_ok=True)
        for name in COMMITTED:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            shutil.move(place / name, out / name)
    return out


def _build(place: Path) -> None:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells a hundred lines on being imported
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    place.mkdir()
    (place / CONFIG).write_text(CONFIGURATION, encoding="utf-8")
    (place / ".gitignore").write_text(f"{UNCOMMITTED}/\n", encoding="utf-8")
    context = gx.get_context(mode="file", context_root_dir=place)
    data = (
        context.data_sources.add_pandas("tables")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("whole")
    )
    named = {"result_format": "SUMMARY", "unexpected_index_column_names": ["path"], "partial_unexpected_count": FIRST}
    for name, rules in SUITES.items():
        suite = gx.ExpectationSuite(name=name, expectations=[_expectation(rule) for rule in rules])
        definition = gx.ValidationDefinition(name=name, data=data, suite=context.suites.add(suite))
        definition = context.validation_definitions.add(definition)
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="data docs")],
            result_format=named,
        )
        context.checkpoints.add(checkpoint)


def _expectation(rule: Rule) -> Any:
    import great_expectations.expectations as gxe

    arguments = {
        key: {"$PARAMETER": value[1:]} if isinstance(value, str) and value.startswith("$") else value
        for key, value in rule.arguments.items()
    }
    return getattr(gxe, rule.expectation)(**arguments, meta={"name": rule.name}, description=rule.says)


def _settle_ids(place: Path) -> None:
    for store in place.rglob(".ge_store_backend_id"):
        store.unlink()
    settled: dict[str, str] = {}
    files = sorted(file for name in COMMITTED for file in _files(place / name))
    for file in files:
        found = RANDOM_ID.findall(file.read_text(encoding="utf-8"))
        for number, random_id in enumerate(dict.fromkeys(found)):
            name = f"keel/{file.relative_to(place).as_posix()}/{number}"
            settled.setdefault(random_id, str(uuid.uuid5(uuid.NAMESPACE_URL, name)))
    for file in files:
        text = RANDOM_ID.sub(lambda match: settled[match[0]], file.read_text(encoding="utf-8"))
        file.write_text(text, encoding="utf-8")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
