"""What the candidate's answers rest on, for a few test images: attributions, their checks, and shortcut probes.

Writes attributions.parquet (a row an image) and a gallery of them for the report (tasks/gallery.py).
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch

from tasks.attacks import Network
from tasks.attributions import (
    area,
    background,
    blurred,
    curve,
    donors,
    frame,
    integrated_gradients,
    over_cells,
    probability,
    rank_correlation,
)
from tasks.digests import sha256_file
from tasks.gallery import choose, write_gallery
from tasks.params import AttributeParams
from tasks.pixels import load_pixels
from tasks.scorer import WEIGHTS, Scorer
from tasks.slices import drawn_images
from tasks.stage import stage

TABLE = "attributions.parquet"
logger = logging.getLogger("tasks.attribute")


@stage
def attribute(data: Path, manifest: Path, model: Path, params: AttributeParams, out: Path) -> None:
    """Write attributions.parquet, gallery.png and gallery.csv."""
    table = drawn_images(pd.read_parquet(manifest / "manifest.parquet"), params.images, params.seed)
    scorer = Scorer(model, "cpu")  # a GPU sums in an order of its own
    images = load_pixels(data, table, scorer.facts["image_size"]).float() / 255
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the bytes must not depend on how many cores there are
    try:
        rows, cells = attributed(scorer, images, table["label"].to_numpy(), params)
    finally:
        torch.set_num_threads(threads)
    found = pd.concat([table[["image_id"]], rows.assign(model=sha256_file(model / WEIGHTS))], axis=1)
    found.to_parquet(out / TABLE, index=False)
    captions = pd.DataFrame({"actual": table["label"], **rows[["predicted", "confidence"]]})
    right = (captions["actual"] == captions["predicted"]).to_numpy()
    chosen = choose(right, captions["confidence"].to_numpy(), params.shown)
    write_gallery(images, cells, captions, chosen, out)
    logger.info("attributed the answers to %d test images", len(table))


def attributed(
    scorer: Scorer, images: torch.Tensor, labels: np.ndarray, params: AttributeParams
) -> tuple[pd.DataFrame, torch.Tensor]:
    """Float images (N, 3, S, S) of 0 to 1 -> the table's columns, and the attributions of cells (N, cells * cells)."""
    network, temperature, random = (
        Network(scorer.net, scorer.facts),
        scorer.facts["temperature"],
        np.random.default_rng(params.seed),
    )
    logits = answers(network, images)
    targets = logits.argmax(1)
    baselines = blurred(images, params.blur)
    maps = integrated_gradients(network, images, baselines, targets, params.steps)
    cells = over_cells(maps, params.cells)
    strangers = over_cells(
        integrated_gradients(random_network(scorer, params.seed), images, baselines, targets, params.steps),
        params.cells,
    )
    border = frame(images.shape[-1], params.border)
    strength = maps.abs()
    columns = {
        "predicted": [scorer.classes[k] for k in targets],
        "confidence": probability(network, images, targets, temperature),
        **areas(network, images, baselines, targets, torch.argsort(cells, dim=1, descending=True), temperature, ""),
        "random_weights_correlation": rank_correlation(cells.numpy(), strangers.numpy()),
        "border_share": (strength[:, border].sum(1) / strength.sum((1, 2))).double().numpy(),
    }
    controls = []
    for _ in range(params.orders):
        order = torch.from_numpy(random.permuted(np.tile(np.arange(params.cells**2), (len(images), 1)), axis=1))
        controls.append(areas(network, images, baselines, targets, order, temperature, "random_"))
    columns |= {name: np.mean([control[name] for control in controls], axis=0) for name in controls[0]}
    return pd.DataFrame(columns | probes(network, images, targets, border, donors(labels, random))), cells


def areas(
    network: Network,
    images: torch.Tensor,
    baselines: torch.Tensor,
    targets: torch.Tensor,
    order: torch.Tensor,
    temperature: float,
    prefix: str,
) -> dict[str, np.ndarray]:
    """The areas (N,) under the deletion and the insertion curve, cells taken out or put in by `order`."""
    pairs = {"deletion_auc": (images, baselines), "insertion_auc": (baselines, images)}
    return {f"{prefix}{name}": area(curve(network, *pair, targets, order, temperature)) for name, pair in pairs.items()}


def probes(
    network: Network, images: torch.Tensor, targets: torch.Tensor, border: torch.Tensor, others: np.ndarray
) -> dict[str, np.ndarray]:
    """Whether the answer changes (1.0, else 0.0; NaN without a donor) when border or background come from `others`.

    The donor's border is pasted as it is; the background is painted in the colour of the donor's.
    """
    donated = images[torch.from_numpy(others)]
    mask, _ = background(images, border)
    _, colour = background(donated, border)
    changed = {
        "border_changes": torch.where(border, donated, images),
        "background_changes": torch.where(mask, colour, images),
    }
    return {
        name: np.where(others < 0, np.nan, (answers(network, x).argmax(1) != targets).double().numpy())
        for name, x in changed.items()
    }


def answers(network: Network, images: torch.Tensor) -> torch.Tensor:
    """Logits (N, K)."""
    with torch.inference_mode():
        return network(images)


def random_network(scorer: Scorer, seed: int) -> Network:
    """The same architecture with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"num_classes": len(scorer.classes), **scorer.facts["options"]}
        net = timm.create_model(scorer.facts["architecture"], pretrained=False, **options)
    return Network(net, scorer.facts)
