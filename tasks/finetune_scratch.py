"""The baseline that transfer has to beat: the same network from random weights, at the same budget, well tuned."""

from pathlib import Path

from tasks.finetune import train_model
from tasks.params import FinetuneParams
from tasks.stage import stage


@stage
def finetune_scratch(data: Path, manifest: Path, backbone: Path, params: FinetuneParams, out: Path) -> None:
    """Write the baseline in the same form as `finetune`; of the backbone only the architecture is used."""
    train_model(data, manifest, backbone, None, params, out)
