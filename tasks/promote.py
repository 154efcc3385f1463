"""Make a registered version the champion, and put the old one back when the new one does not answer as it was judged.

The order leaves a champion at every instant: `previous` takes the old version first, then `champion` the new one, and
`challenger` goes last.
"""

import logging
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.errors import RegistryTrouble
from tasks.registry import Registry, trouble

GOLDEN = 5  # test images whose probabilities must come out as they were judged
logger = logging.getLogger("tasks.promote")


@task(cache_policy=NO_CACHE)
def promote(registry: Registry, version: str, data: Path, manifest: Path, predictions: Path) -> None:
    """Move the aliases, then score a few test images through the registry; any failure moves the aliases back.

    A version that is champion already is asked all the same.
    """
    with registry.alone():
        before = registry.aliases()
        if before["champion"] == version:
            check_champion(registry, version, data, manifest, predictions)
            logger.info("version %s of %s is champion already, and answers as judged", version, registry.project)
            return
        decision = int(registry.version_tags(version)["decision"])
        with registry.change("promote", {"version": version, "decision": decision}):
            registry.set_aliases({"champion": version, "previous": before["champion"], "challenger": None})
            check_champion(registry, version, data, manifest, predictions)
    logger.info("version %s of %s is champion; previous is %s", version, registry.project, before["champion"] or "none")


def check_champion(registry: Registry, version: str, data: Path, manifest: Path, predictions: Path) -> None:
    """Load `models:/<name>@champion` as a client would, and compare golden probabilities."""
    if registry.aliases()["champion"] != version:
        raise RegistryTrouble(f"champion of {registry.project} did not move to version {version}")
    table = pd.read_parquet(manifest / "manifest.parquet").query("split == 'test'").head(GOLDEN)
    judged = pd.read_parquet(predictions / "predictions.parquet").set_index("image_id").loc[table["image_id"]]
    with trouble(registry.chosen):
        model = mlflow.pyfunc.load_model(f"models:/{registry.project}@champion")
    answer = model.predict(pd.DataFrame({"image": [(data / path).read_bytes() for path in table["path"]]}))
    columns = [c for c in judged.columns if c.startswith("prob_")]
    if columns != [c for c in answer.columns if c.startswith("prob_")]:
        raise RegistryTrouble(f"version {version} answers with other classes than were judged; it is not promoted")
    apart = float(np.abs(answer[columns].to_numpy() - judged[columns].to_numpy()).max())
    if not apart < 1e-4:
        raise RegistryTrouble(
            f"version {version} answers differently from what was judged, by up to {apart:.2g} in probability; "
            "it is not promoted"
        )
