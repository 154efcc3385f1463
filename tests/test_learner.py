"""The training loop keeps its promises in networks with BatchNorm, with LayerNorm and with attention."""

from typing import Any

import pandas as pd
import pytest
import timm
import torch
from torch import nn

from tasks.batches import Epochs
from tasks.learner import GradualUnfreezing, Learner, shape
from tasks.params import Augmentation, Phase, TrainerParams
from tasks.unfreezing import FrozenMoved, layer_rates, open_names
from tests.small_training import PARAMS, PHASES, run

pytestmark = pytest.mark.usefixtures("own_state")
ARCHITECTURES = ["test_resnet", "test_convnext", "test_vit"]
STILL = Augmentation(turn=0, shift=0, scale=0)
STORED = PARAMS.trainer.model_copy(update={"checkpoint_seconds": 99})
UNSTORED = STORED.model_copy(update={"views": 0})


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each step found: the phase, the learning rates, the loss, whether the network ran from stored work."""
    steps: list[dict[str, Any]] = []
    finish = GradualUnfreezing.on_train_batch_end

    def note(self: GradualUnfreezing, trainer: Any, module: Learner, *rest: Any) -> None:
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        about = {"phase": self.place.phase, "rates": rates, "step": self.step}
        steps.append(about | {"loss": float(module.train_losses[-1]), "stored": module.shortcut is not None})
        finish(self, trainer, module, *rest)

    monkeypatch.setattr(GradualUnfreezing, "on_train_batch_end", note)
    return steps


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("trainer", [UNSTORED, STORED], ids=["whole", "from stored work"])
def test_frozen_tensors_are_bit_identical_at_the_end_of_each_epoch_and_open_ones_move(
    architecture: str, trainer: TrainerParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when set_open no longer calls `module.eval()` (BatchNorm moves), or `requires_grad_(name in opened)`.
    epochs: list[tuple[set[str], dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    begin, end = GradualUnfreezing.on_train_epoch_start, GradualUnfreezing.on_train_epoch_end
    before: dict[str, torch.Tensor] = {}

    def look(self: GradualUnfreezing, trainer: Any, module: Learner) -> None:
        begin(self, trainer, module)
        before.update({n: t.clone() for n, t in module.net.state_dict().items()})

    def look_again(self: GradualUnfreezing, trainer: Any, module: Learner) -> None:
        epochs.append((set(self.opened), dict(before), {n: t.clone() for n, t in module.net.state_dict().items()}))
        end(self, trainer, module)

    monkeypatch.setattr(GradualUnfreezing, "on_train_epoch_start", look)
    monkeypatch.setattr(GradualUnfreezing, "on_train_epoch_end", look_again)
    run(architecture, trainer=trainer)
    assert len(epochs) == 7
    for opened, start, finish in epochs:
        moved = {name for name in start if not torch.equal(start[name], finish[name])}
        assert moved <= opened
        assert {name for name in opened if name.endswith("weight")} <= moved


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learning_rates_are_what_the_schedule_says_at_every_step(architecture: str, seen: list[dict[str, Any]]) -> None:
    # Fails when on_train_batch_start drops `group["factor"]`, the phase's rate, or the warm-up at an opening.
    net = run(architecture).net
    groups = layer_rates(net, 0.8)
    kinds = [(factor, {p.ndim > 1 for p in parameters}) for factor, parameters in groups]
    factors = [factor for factor, kind in kinds for _ in kind]  # with and without weight decay
    assert [s["step"] for s in seen] == [*range(8), *range(12), *range(8)]
    for found in seen:
        phase = PHASES[found["phase"]]
        height = 0.01 * phase.rate * shape(found["step"], 2, phase.epochs * 4)
        assert found["rates"] == pytest.approx([height * factor for factor in factors])
    assert factors[-1] == 1
    assert factors[0] == pytest.approx(0.8 ** (len(groups) - 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_run_from_stored_work_equals_the_plain_run_step_by_step_without_augmentation(
    architecture: str, seen: list[dict[str, Any]]
) -> None:
    # Fails when Activations.take ignores the places, or when find_cut cuts behind an open module.
    phases = [Phase(open="head", epochs=2, rate=1.0), Phase(open=2, epochs=2, rate=0.5)]
    plain = run(architecture, augmentation=STILL, trainer=UNSTORED, phases=phases)
    steps = len(seen)
    stored = run(architecture, augmentation=STILL, trainer=STORED, phases=phases)
    assert [s["stored"] for s in seen] == [False] * steps + [True] * steps
    assert [s["loss"] for s in seen[steps:]] == pytest.approx([s["loss"] for s in seen[:steps]], abs=1e-4)
    for name, tensor in plain.net.state_dict().items():
        assert torch.allclose(tensor.float(), stored.net.state_dict()[name].float(), atol=2e-3), name
    assert "was computed once, in one view, without augmentation" in " ".join(stored.notes)


def test_tensor_that_moves_while_frozen_stops_the_run_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails when on_train_epoch_end no longer calls check_frozen.
    finish = GradualUnfreezing.on_train_batch_end

    def disturb(self: GradualUnfreezing, trainer: Any, module: Learner, *rest: Any) -> None:
        with torch.no_grad():
            module.net.layer1[0].bn1.running_mean.add_(1e-3)
        finish(self, trainer, module, *rest)

    monkeypatch.setattr(GradualUnfreezing, "on_train_batch_end", disturb)
    with pytest.raises(FrozenMoved, match=r"phase 1 \(open: head\): 1 tensors .* changed, such as layer1\.0\.bn1"):
        run("test_resnet")


def test_frozen_batchnorm_in_train_mode_stops_the_run_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails when check_frozen no longer looks at the modes.
    start = GradualUnfreezing.on_train_epoch_start

    def wake(self: GradualUnfreezing, trainer: Any, module: Learner) -> None:
        start(self, trainer, module)
        module.net.bn1.train()

    monkeypatch.setattr(GradualUnfreezing, "on_train_epoch_start", wake)
    with pytest.raises(FrozenMoved, match=r"are in train mode, such as bn1"):
        run("test_resnet", trainer=STORED)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_is_in_one_optimizer_group_by_identity(architecture: str) -> None:
    # Fails when parameters are told apart by value: all norms begin with the same ones and zeros.
    net = timm.create_model(architecture, num_classes=3)
    optimizer = Learner(net, 0.01, PARAMS).configure_optimizers()
    placed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in net.parameters())


def test_unfreezing_stops_when_a_phase_brought_no_gain() -> None:
    # Fails when _end ignores what _brought_too_little says.
    tiny = [PHASES[0], Phase(open=2, epochs=1, rate=1e-9), PHASES[2]]
    finished = run("test_resnet", phases=tiny, stop_level=0.05)
    assert finished.curve["open"].tolist() == ["head", "head", "2"]
    assert "phase 2 (open: 2) brought no significant gain" in finished.notes[-1]
    assert finished.notes[-1].endswith("unfreezing stops here")


def test_each_option_changes_the_result_and_is_repeatable() -> None:
    plain = run("test_convnext", phases=PHASES[2:])
    for change in ({"drop_path": 0.3}, {"mixup": 0.4}, {"cutmix": 1.0}, {"l2_sp": 0.5}, {"ema": 0.9}):
        first, second = (run("test_convnext", phases=PHASES[2:], **change) for _ in range(2))
        pd.testing.assert_frame_equal(first.curve, second.curve)
        assert not first.curve["validation_loss"].equals(plain.curve["validation_loss"]), change


def test_batches_repeat_from_their_place_alone_and_show_every_image_once() -> None:
    pixels, targets = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 4, 4), torch.arange(10)
    epochs = Epochs(pixels, targets, 3, 5, Augmentation(turn=9), lambda images: images)
    first = list(epochs)
    epochs.place.batch = 2
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[2:], epochs, strict=True))
    assert sorted(torch.cat([batch[1] for batch in first]).tolist()) == list(range(10))
    epochs.place.epoch, epochs.place.batch = 1, 0
    assert torch.cat([batch[1] for batch in epochs]).tolist() != torch.cat([batch[1] for batch in first]).tolist()


def test_processes_share_a_batch_without_overlap() -> None:
    pixels, targets = torch.zeros(10, 3, 4, 4, dtype=torch.uint8), torch.arange(10)
    parts = [Epochs(pixels, targets, 4, 5, STILL, lambda x: x, rank=rank, world=2) for rank in range(2)]
    for first, second in zip(*parts, strict=True):
        assert len(first[1]) + len(second[1]) == first[2]
        assert not set(first[1].tolist()) & set(second[1].tolist())


def test_modes_of_batchnorm_follow_the_phase() -> None:
    finished = run("test_resnet", phases=[PHASES[1]])
    opened = open_names(finished.net, 2)
    norms = [n for n, m in finished.net.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert any(f"{n}.weight" in opened for n in norms)
    assert any(f"{n}.weight" not in opened for n in norms)


def test_mapped_activations_give_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = [Phase(open=1, epochs=2, rate=1.0)]
    memory = run("test_resnet", phases=phases)
    monkeypatch.setattr("tasks.stored_work.MEGABYTE", 1)  # 29 images do not fill a real one
    mapped = run("test_resnet", phases=phases, trainer=STORED.model_copy(update={"memory_mb": 1}))
    assert "in a mapped file" in " ".join(mapped.notes)
    pd.testing.assert_frame_equal(memory.curve, mapped.curve)
