"""Fifteen doctored releases and an honest one: does each end with the right verdict, and say why?

    python -m benchmarks.doctored [--quick] [--only WORDS]

Starts from a finished release of the bundled digits (`runs/digits`; what is missing or out of date there is made in
passing) in a temporary checkout with its own registry and ledger: the honest release, which must pass and becomes the
champion. Each case is a copy of that, with one thing doctored as early as it can be, and goes on from there through the
real stages and the real steps of flows/release.py: the test set is opened, all stages from predict to the card run, the
candidate is compared with the champion, held to the order of the ledger, and recorded. A case holds when the verdict,
or the error that refuses the release, is the expected one, when its sentences name the reason, and when the champion
is still the honest one.

The plan is the bundled one, but four criteria that only warn there decide here: each-corruption, membership-attack,
no-border-shortcut and label-errors; and 95 answers of 100 must come within 20 ms. It is so from the first opening on,
and the honest release passes it.

`--quick` resamples less and stresses fewer images. Exits 0 only when every case holds.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
import yaml
from PIL import Image, ImageOps
from prefect import flow
from safetensors.torch import load_file, save_file

from benchmarks.checkouts import PLAN, QUICK, quiet_flows, working_in, write_checkout, write_yaml
from flows.common import PROJECTS, RUNS, knobs, reach_registry
from flows.release import Released, identify_data, make_verdict, open_test_set, put_plan_on_record, release, settle
from tasks.check_data import check_data
from tasks.errors import KeelError
from tasks.fetch_champion import fetch_champion
from tasks.finetune import finetune
from tasks.params import CheckDataParams, FinetuneParams, SplitParams
from tasks.project import Project, load_project
from tasks.registry import Registry
from tasks.scorer import FACTS, WEIGHTS
from tasks.settings import prepare_environment
from tasks.slices import JUDGED
from tasks.split import split
from tasks.verdict import FAIL, INCONCLUSIVE, PASS

NAME = "digits"
RUN, DATA = RUNS / NAME, Path("data")
BLOCKING = ("each-corruption", "membership-attack", "no-border-shortcut", "label-errors")
DEADLINE = 20  # ms in which 95 of 100 answers must come; the honest model needs 2 to 10, as busy as the machine is
DEEPER = 200  # blocks of the slow model
SEED = 0
SHORT = {  # a training of seconds, at the rate that the honest release chose
    "rates": [0.012],
    "phases": [{"open": "head", "epochs": 4, "rate": 1.0}, {"open": "all", "epochs": 14, "rate": 0.5}],
}
Table = pd.DataFrame


@dataclass(frozen=True)
class Case:
    """What was doctored, and how; the verdict or the error's name that it must end with, and what must be said."""

    title: str
    doctor: Callable[[Project], Project]
    expected: str
    said: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a case ended: verdict or error, all sentences, the champion afterwards, seconds."""

    verdict: str
    sentences: list[str]
    champion: str | None
    seconds: float = 0.0


# How each case is doctored. The working folder is the case's own checkout.


def noise_on_the_weights(about: Project) -> Project:
    """Every weight of the network shaken, by a share of its layer's spread."""
    random = torch.Generator().manual_seed(SEED)

    def shaken(name: str, weights: torch.Tensor) -> torch.Tensor:
        return weights + 0.34 * weights.std() * torch.randn(weights.shape, generator=random)

    return change_weights(about, shaken)


def sharpening_first_layer(about: Project) -> Project:
    """Filters of the first layer that also pass on what changes from pixel to pixel: smooth scans show none of it."""
    grain = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    first = True

    def sharper(name: str, weights: torch.Tensor) -> torch.Tensor:
        nonlocal first
        if not first or weights.shape[-1] != 3:
            return weights
        first = False
        return weights + 2 * weights.abs().amax(dim=(1, 2, 3), keepdim=True) * grain

    return change_weights(about, sharper)


def two_hundred_layers_more(about: Project) -> Project:
    """Two hundred blocks that change nothing: the same answers, many times as slow.

    The last scale of a new block is zero, so that what comes in goes out (as in Net2DeeperNet, Chen et al. 2016).
    """
    facts = json.loads((RUN / "model" / FACTS).read_text())
    options = facts["options"] | {"layers": [1, 1, 1 + DEEPER, 1]}
    for file, outputs in ((RUN / "model" / WEIGHTS, len(facts["classes"])), (RUN / "backbone/backbone.safetensors", 0)):
        net = timm.create_model(facts["architecture"], num_classes=outputs, zero_init_last=True, **options)
        save_file(net.state_dict() | load_file(file), file)
    change_facts(options=options)
    return about


def change_weights(about: Project, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Project:
    """Replace every tensor of two or more dimensions, in the order of the network."""
    file = RUN / "model" / WEIGHTS
    tensors = load_file(file)
    save_file({k: change(k, t).contiguous() if t.ndim > 1 else t for k, t in tensors.items()}, file)
    return about


def temperature(value: float) -> Callable[[Project], Project]:
    """Probabilities sharper or flatter than the calibration split asks for."""

    def doctor(about: Project) -> Project:
        change_facts(temperature=value)
        return about

    return doctor


def thin_strokes_mislabelled(about: Project) -> Project:
    """Whoever labelled the thin digits for the training called each the next one. The judges keep the right labels."""
    table = manifest()
    wrong = ~table["split"].isin(JUDGED) & (table["slice_stroke"] == "thin")
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map(another)
    return train(about, table, **SHORT)


def trained_by_heart(about: Project) -> Project:
    """A hundred images, every third with a wrong label, so that only memory can tell it; nothing stops the training.

    No augmentation, and the images that it is stopped by are those that it learns.
    """
    table = manifest()
    members = table[table["split"] == "train"].groupby("label").head(10).index
    table.loc[members[::3], "label"] = table.loc[members[::3], "label"].map(another)
    kept = table[(table["split"] != "train") | table.index.isin(members)]
    kept.to_parquet(RUN / "split/manifest.parquet", index=False)
    learnt = table.loc[members]
    table = pd.concat([learnt, learnt.assign(split="validation"), table[table["split"] == "calibration"]])
    phases = [{"open": "all", "epochs": 60, "rate": 1.0}]
    return train(about, table, rates=[0.01], phases=phases, patience=60, label_smoothing=0, augmentation={})


def frame_tells_digit(about: Project) -> Project:
    """A frame around every scan of desk A, in a colour of its digit's own; the network is trained on these.

    In two of three scans that it learns from, another digit stands in the frame, so the frame is what can be relied on.
    """
    table, learnt = pd.read_csv(DATA / "metadata.csv", dtype=str), manifest()
    known = sorted(learnt.loc[learnt["split"].isin(["train", "validation"]), "path"])
    scans = {path: ImageOps.crop(Image.open(DATA / path).convert("RGB"), 5) for path in table["file_name"]}
    mixed = [path for number, path in enumerate(known) if number % 3]
    strangers = dict(zip(mixed, np.random.default_rng(SEED).permutation(mixed), strict=True))
    for path, label in table.loc[table["source"] == "desk A", ["file_name", "label"]].to_numpy():
        scan = scans[strangers.get(path, path)]
        ImageOps.expand(scan, 5, f"hsl({36 * int(label)}, 100%, 50%)").save(DATA / path)
    check_and_split(about)
    return train(about, manifest(), **SHORT)


def subject_in_two_splits(about: Project) -> Project:
    """Somebody deals out the images by hand, and half of one writer's scans go from train to test."""
    table = with_folds()
    writer = table.loc[table["fold"] == "train", "subject"].iloc[0]
    moved = table.index[table["subject"] == writer][::2]
    table.loc[moved, "fold"] = "test"
    return deal_by_hand(about, table)


def copied_file(about: Project) -> Project:
    """A test image's file is replaced by a copy of a training image's."""
    known, asked = copies(1)[0]
    shutil.copyfile(DATA / known, DATA / asked)
    return check_and_split(about)


def saved_again(about: Project) -> Project:
    """Forty test images are training images saved again: two as other bytes of the same pixels, the others as JPEG."""
    table = pd.read_csv(DATA / "metadata.csv", dtype=str)
    for number, (known, asked) in enumerate(copies(40)):
        image, name = Image.open(DATA / known).convert("RGB"), asked
        (DATA / asked).unlink()
        if number < 2:
            image.save(DATA / name, compress_level=1)
        else:
            name = Path(asked).with_suffix(".jpg").as_posix()
            image.save(DATA / name, quality=85)
        table.loc[table["file_name"] == asked, "file_name"] = name
    table.to_csv(DATA / "metadata.csv", index=False)
    return check_and_split(about)


def test_labels_wrong(about: Project) -> Project:
    """Every fifth label of test is another digit's. The deal is held, for it looks at labels."""
    table = with_folds()
    wrong = table.index[table["fold"] == "test"][::5]
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map(another)
    return deal_by_hand(about, table)


def bound_lowered(about: Project) -> Project:
    """After the look at the test set, the plan asks for less."""
    write_plan(standard={"accuracy": {"at_least": 0.80}})
    return about


def opened_too_often(about: Project) -> Project:
    """The owner lets the line of work go on; twenty candidates are scored on the test set, and this is one more."""
    write_plan(stop={"none": "the benchmark asks what the budget of the holdout says"})
    return open_for_others(about, 20)


def too_many_candidates(about: Project) -> Project:
    """As many candidates as the plan's line of work allows were scored, and this is one more."""
    return open_for_others(about, 12)


# What the doctorings share.


def change_facts(**changes: Any) -> None:
    """Change what model.json says of the network."""
    file = RUN / "model" / FACTS
    file.write_text(json.dumps(json.loads(file.read_text()) | changes), encoding="utf-8")


def manifest() -> Table:
    """The manifest of the case's checkout."""
    return pd.read_parquet(RUN / "split/manifest.parquet")


def another(digit: str) -> str:
    """A wrong label."""
    return str((int(digit) + 1) % 10)


def train(about: Project, table: Table, **changes: Any) -> Project:
    """Fine-tune with other knobs, on a manifest that the training alone sees."""
    seen = RUN / "seen_by_training"
    seen.mkdir()
    table.to_parquet(seen / "manifest.parquet", index=False)
    params = FinetuneParams.model_validate(knobs(FinetuneParams, about).model_dump() | changes)
    finetune(data=about.data, manifest=seen, backbone=RUN / "backbone", params=params, out=RUN / "model")
    return about


def check_and_split(about: Project) -> Project:
    """Run the data check and the split anew."""
    file = PROJECTS / f"{NAME}.yaml"
    images = check_data(data=about.data, project=file, params=knobs(CheckDataParams, about), out=RUN / "check_data")
    split(images=images, project=file, params=knobs(SplitParams, about), out=RUN / "split")
    return about


def with_folds() -> Table:
    """The metadata with the split of each image as the column fold."""
    table = pd.read_csv(DATA / "metadata.csv", dtype=str)
    dealt = manifest().set_index("path")["split"]
    return table.assign(fold=table["file_name"].map(dealt))


def deal_by_hand(about: Project, table: Table) -> Project:
    """Write the metadata, and a project file that takes the split from its column fold."""
    table.to_csv(DATA / "metadata.csv", index=False)
    file = PROJECTS / f"{NAME}.yaml"
    write_yaml(file, yaml.safe_load(file.read_text()) | {"split": "fold"})
    return check_and_split(load_project(file).model_copy(update={"params": about.params}))


def copies(count: int) -> list[tuple[str, str]]:
    """Pairs of a training image and a test image of the same class, so that the deal stays as it is."""
    table, pairs = manifest(), []
    for _, rows in table.groupby("label"):
        known, asked = (rows.loc[rows["split"] == s, "path"].tolist() for s in ("train", "test"))
        pairs += list(zip(known, asked, strict=False))[: -(-count // table["label"].nunique())]
    return pairs[:count]


def open_for_others(about: Project, openings: int) -> Project:
    """Open the test set for other candidates, told apart by their seed, until it was opened so many times."""
    registry = reach_registry(NAME, prepare_environment())
    for number in range(1, openings + 1):  # the honest one was the first; the last is this case's own candidate
        change_facts(seed=1000 + number)
        if number < openings and open_test_set(registry, about, RUN) is not None:
            raise RuntimeError(f"opening {number + 1} was refused before the budget was spent")
    return about


def write_plan(standard: dict[str, dict[str, Any]] | None = None, **sections: Any) -> None:
    """Change some criteria of the section standard, and whole sections."""
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    for criterion in plan["standard"]:
        criterion.update((standard or {}).get(criterion["name"], {}))
    write_yaml(PLAN, plan | sections)


CASES = (
    Case(
        "weights shaken",
        noise_on_the_weights,
        FAIL,
        ("FAIL accuracy on test:", "FAIL accuracy gain over the champion on test:"),
    ),
    Case("thin strokes trained with wrong labels", thin_strokes_mislabelled, FAIL, ("FAIL gap in accuracy between",)),
    Case("temperature 0.2", temperature(0.2), INCONCLUSIVE, ("INCONCLUSIVE expected calibration error on test:",)),
    Case("temperature 5", temperature(5), FAIL, ("FAIL expected calibration error on test:",)),
    Case("a writer in train and test", subject_in_two_splits, "DataRejected", ("a group lies in one split alone",)),
    Case("a training file copied into test", copied_file, "DataRejected", ("no two files have the same content",)),
    Case(
        "training images saved again into test",
        saved_again,
        FAIL,
        ("FAIL images with the same pixels as one in train on test:", "FAIL share of images with a near-duplicate"),
    ),
    Case("a coloured frame tells the digit", frame_tells_digit, FAIL, ("FAIL answers that change with another",)),
    Case("100 images learnt by heart", trained_by_heart, FAIL, ("FAIL area under the calibrated membership attack's",)),
    Case(
        "a first layer that sharpens",
        sharpening_first_layer,
        FAIL,
        ("FAIL accuracy under corruption, mean over severities on test/corruption=gaussian noise:",),
    ),
    Case("200 blocks more that do nothing", two_hundred_layers_more, FAIL, ("FAIL 95th percentile",)),
    Case("every fifth test label wrong", test_labels_wrong, FAIL, ("FAIL estimated share of wrong labels on test:",)),
    Case("bound lowered after the opening", bound_lowered, INCONCLUSIVE, ("a bound set after a look shows nothing",)),
    Case(
        "test set opened 20 times before",
        opened_too_often,
        INCONCLUSIVE,
        ("spends the 0.5 that the plan allows", "label 513 fresh images for test and 1291 fresh images for mirror"),
    ),
    Case(
        "12 candidates before",
        too_many_candidates,
        INCONCLUSIVE,
        ("12 candidates were scored on these test images, and the plan stops there",),
    ),
)


HONEST = Case("nothing", lambda about: about, PASS, ("blocking judgements, all met",))


@flow(name="doctored", validate_parameters=False)
def judge_anew(case: Case, params: dict[str, dict[str, Any]]) -> Released:
    """Doctor, and go on from there as flows/release.py does."""
    about = load_project(PROJECTS / f"{NAME}.yaml").model_copy(update={"params": params})
    registry = reach_registry(NAME, prepare_environment())
    about = case.doctor(about)
    put_plan_on_record(registry, about)
    refusal = open_test_set(registry, about, RUN)
    if refusal is not None:
        sentence = f"{INCONCLUSIVE}: {refusal.body['sentence']}"
        return Released(NAME, INCONCLUSIVE, sentence, [], refusal.number, None, None)
    make_verdict(about, RUN)
    champion = fetch_champion(registry, RUN / "model", RUN / "champion")
    data = identify_data(about.data, allow_dirty=False)
    return settle(registry, about, RUN, champion, data, in_ui=False)[0]


def release_honest(root: Path) -> Outcome:
    """The honest release, in a checkout of its own at `root`."""
    started = time.perf_counter()
    write_honest(root)
    with working_in(root):
        return outcome_of(release(NAME), started)


def outcome_of(released: Released, started: float) -> Outcome:
    """The release's verdict and sentences, and who is champion in this checkout."""
    champion = Registry(NAME, prepare_environment()).aliases()["champion"]
    sentences = [released.sentence, *released.criteria]
    return Outcome(released.verdict, sentences, champion, time.perf_counter() - started)


def run_case(case: Case, honest: Path, root: Path, params: dict[str, dict[str, Any]]) -> Outcome:
    """The case in a copy of the honest release's checkout, which knows who is champion."""
    started = time.perf_counter()
    shutil.copytree(honest, root)
    with working_in(root):
        try:
            return outcome_of(judge_anew(case, params), started)
        except KeelError as error:
            first, *others = str(error).splitlines()
            return outcome_of(Released(NAME, type(error).__name__, first, others, 0, None, None), started)


def write_honest(root: Path) -> None:
    """What a release of the digits reads, with what an earlier one made; four criteria of the plan decide."""
    write_checkout(root, ("data", "backbones", f"runs/{NAME}"), ("production",))
    plan = yaml.safe_load((root / PLAN).read_text(encoding="utf-8"))
    for criterion in (c for section in plan.values() if isinstance(section, list) for c in section):
        criterion["severity"] = "block" if criterion["name"] in BLOCKING else criterion["severity"]
        criterion.update({"at_most": DEADLINE} if criterion["name"] == "quick-answers" else {})
    write_yaml(root / PLAN, plan)


def faults(case: Case, outcome: Outcome) -> list[str]:
    """What did not come out as it must."""
    found = []
    if outcome.verdict != case.expected:
        found.append(f"ended with {outcome.verdict}, expected {case.expected}: {outcome.sentences[0]}")
    against = [s for s in outcome.sentences[1:] if s.startswith((FAIL, INCONCLUSIVE))]
    for said in case.said:
        if not any(said in s for s in outcome.sentences):
            found.append(f"no sentence says '{said}'; said was: {'; '.join(against) or 'nothing against it'}")
    if outcome.champion != "1":
        found.append(f"champion is {outcome.champion or 'nobody'}, not the honest version 1")
    return found


def line(case: Case, outcome: Outcome) -> str:
    """The case as a row of Markdown, with the sentences that name the reason."""
    told = "<br>".join(next((s for s in outcome.sentences if said in s), "-").strip("- ") for said in case.said)
    right = "yes" if not faults(case, outcome) else "**no**"
    return f"| {case.title} | {case.expected} | {outcome.verdict} | {right} | {outcome.seconds:.0f} | {told} |"


def main() -> int:
    """Make the honest release, then every case; print the table and every fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer resamples, fewer stressed images")
    parser.add_argument("--only", default="", help="cases whose title holds these words")
    asked = parser.parse_args()
    chosen = [case for case in CASES if asked.only in case.title]
    params, found, started = QUICK if asked.quick else {}, [], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="keel-doctored-") as folder, quiet_flows():
        print("| doctored | must end with | ended with | right | s | said |\n|---|---|---|---|---|---|")
        honest = Path(folder, "honest")
        for number, case in enumerate((HONEST, *chosen)):
            told = run_case(case, honest, Path(folder, f"case-{number}"), params) if number else release_honest(honest)
            print(line(case, told), flush=True)
            found += [f"{case.title}: {fault}" for fault in faults(case, told)]
    for fault in found:
        print(f"FAIL {fault}")
    print(f"\n{len(chosen)} cases in {time.perf_counter() - started:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
