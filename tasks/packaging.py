"""The form in which a model is logged: what MLflow is told when it saves one, for the registry or in a folder.

Code, weights and facts travel together ("models from code"), so that any stock client can load the model without this
checkout, and nothing is ever pickled.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tasks.digests import TASKS, modules_behind
from tasks.metrics import PROBABILITY
from tasks.scorer import FACTS

if TYPE_CHECKING:
    from tasks.served_model import ImageClassifier  # noqa: F401  which MLflow runs by its path: it is part of the code

SERVING = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "timm", "torch", "torchvision")
IMAGE = "image"  # the column of a request that holds the bytes of image files


@contextmanager
def packaged(model: Path, release: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The arguments of `mlflow.pyfunc.log_model` and `save_model` for a model folder; their files go at the end.

    `release` says where the model comes from, in `release.json` beside it.
    """
    classes = json.loads((model / FACTS).read_text(encoding="utf-8"))["classes"]
    names = [PROBABILITY + label for label in classes]
    outputs = Schema([ColSpec(DataType.string, "label"), *(ColSpec(DataType.double, name) for name in names)])
    with TemporaryDirectory() as folder:
        page = Path(folder, "release.json")
        page.write_text(json.dumps(release, indent=1) + "\n", encoding="utf-8")
        yield {
            "python_model": str(TASKS / "served_model.py"),
            "artifacts": {"model": str(model), "release": str(page)},
            "code_paths": [str(_copy_code(Path(folder)))],
            "signature": ModelSignature(Schema([ColSpec(DataType.binary, IMAGE)]), outputs),
            "pip_requirements": [f"{name}=={installed(name)}" for name in SERVING],
        }


def _copy_code(folder: Path) -> Path:
    """Lay out the scorer and the project files that it imports as a package `tasks`, for MLflow's `code_paths`."""
    for name in [*modules_behind("scorer"), "tasks/errors.py", "tasks/__init__.py"]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TASKS.parent / name, target)
    return folder / "tasks"
