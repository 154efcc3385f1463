"""Each ingredient against an independent implementation, and what holds for all: own draws, same shape, same range."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest, kstest
from torchvision.transforms import functional as reference

from tasks.augment import Fixed, apply, augment
from tasks.errors import BadInput
from tasks.params import Augmentation, FinetuneParams, load_section

STRONG = {
    **{"turn": 20, "shift": 0.1, "scale": 0.2, "shear": 10, "flip": 0.5, "contrast": 0.5, "brightness": 0.2},
    **{"saturation": 0.5, "polarity": 0.5, "blur": 0.02, "noise": 0.1, "erase": 0.2},
}


def policy(**ingredients: object) -> Augmentation:
    return Augmentation.model_validate(ingredients)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    """Sixteen smooth coloured images of 32 pixels a side, away from black and white."""
    rough = torch.rand(16, 3, 6, 6, generator=generator(0)) * 0.5 + 0.25
    return torch.nn.functional.interpolate(rough, size=32, mode="bilinear")


def strongest(images: torch.Tensor, **ingredients: object) -> torch.Tensor:
    """Every ingredient at its full strength, the even images one way and the odd ones the other."""
    return apply(images, Fixed(policy(**ingredients), len(images), 1.0))


def test_whole_policy_keeps_shape_type_range_and_input_and_treats_each_image_by_itself(images: torch.Tensor) -> None:
    same = images[:1].expand(16, -1, -1, -1).clone()
    before = same.clone()
    result = augment(same, policy(**STRONG), generator())
    assert (result.shape, result.dtype) == (same.shape, same.dtype)
    assert (result.min() >= 0, result.max() <= 1) == (True, True)
    assert torch.equal(same, before)
    assert len({r.numpy().tobytes() for r in result}) == 16


def test_result_depends_on_the_state_of_the_generator_alone(images: torch.Tensor) -> None:
    first, again = (augment(images, policy(**STRONG), generator()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, policy(**STRONG), generator(4)))


@pytest.mark.parametrize("name", list(STRONG))
def test_ingredient_that_is_off_changes_no_draw_of_another(images: torch.Tensor, name: str) -> None:
    # Fails when Draws.amount takes its numbers from one common stream.
    rest = {key: value for key, value in STRONG.items() if key != name}
    without = augment(images, policy(**rest), generator())
    switched_off = {"probability": 0}
    assert torch.equal(
        without, augment(images, policy(**rest, **{name: switched_off | strength_of(name)}), generator())
    )


def strength_of(name: str) -> dict[str, object]:
    return {} if name in ("flip", "polarity") else {"strength": STRONG[name]}


def test_noise_of_an_image_is_the_same_with_and_without_a_turn() -> None:
    paper = torch.full((8, 3, 32, 32), 0.5)
    alone, with_turn = (augment(paper, policy(noise=0.1, turn=turn), generator()) for turn in (0, 30))
    torch.testing.assert_close(alone, with_turn, atol=1e-5, rtol=0)


def test_every_policy_takes_one_draw_from_the_generator(images: torch.Tensor) -> None:
    states = []
    for chosen in (policy(), policy(turn=5), policy(**STRONG)):
        augment(images, chosen, random := generator())
        states.append(random.get_state())
    assert all(torch.equal(states[0], state) for state in states)


def test_empty_policy_returns_the_images_bit_for_bit(images: torch.Tensor) -> None:
    assert torch.equal(augment(images, policy(), generator()), images)


def test_turns_by_a_right_angle_are_rot90(images: torch.Tensor) -> None:
    result = strongest(images, turn=90)
    for place, turns in ((0, 1), (1, -1)):
        torch.testing.assert_close(result[place], torch.rot90(images[place], turns, (1, 2)), atol=1e-4, rtol=0)


def test_shift_moves_by_a_share_of_the_side(images: torch.Tensor) -> None:
    result = strongest(images, shift=0.25)  # 8 of 32 pixels, to the left and up for the first image
    torch.testing.assert_close(result[0][:, :24, :24], images[0][:, 8:, 8:], atol=1e-4, rtol=0)
    torch.testing.assert_close(result[3][:, 8:, 8:], images[3][:, :24, :24], atol=1e-4, rtol=0)


def test_scale_enlarges_about_the_middle(images: torch.Tensor) -> None:
    spot = torch.zeros(2, 1, 32, 32)
    spot[:, :, 12:20, 12:20] = 1
    larger, smaller = strongest(spot, scale=0.5).sum((1, 2, 3))
    assert larger.item() == pytest.approx(64 * 1.5**2, rel=0.1)
    assert smaller.item() == pytest.approx(64 * 0.5**2, rel=0.1)


def test_shear_moves_rows_in_proportion_to_their_height() -> None:
    bar = torch.zeros(1, 1, 64, 64)
    bar[..., 31:33] = 1
    rows = strongest(bar, shear=26.565)[0, 0]  # half a column for every row
    middle = (rows * torch.arange(64)).sum(1) / rows.sum(1)
    assert torch.diff(middle[12:52]).mean().item() == pytest.approx(-0.5, abs=0.01)


def test_flip_light_and_colour_agree_with_torchvision(images: torch.Tensor) -> None:
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    expected = {
        "flip": (strongest(images, flip=1), reference.hflip(images), reference.hflip(images)),
        "polarity": (strongest(images, polarity=1), reference.invert(images), reference.invert(images)),
        "brightness": (strongest(images, brightness=0.1), images + 0.1, images - 0.1),
        "contrast": (strongest(grey, contrast=0.4), *(reference.adjust_contrast(grey, f) for f in (1.4, 0.6))),
        "saturation": (
            strongest(images, saturation=0.4),
            *(reference.adjust_saturation(images, f) for f in (1.4, 0.6)),
        ),
    }
    for name, (ours, even, odd) in expected.items():
        torch.testing.assert_close(ours[0::2], even[0::2], atol=1e-3, rtol=0, msg=lambda text, n=name: f"{n}: {text}")
        torch.testing.assert_close(ours[1::2], odd[1::2], atol=1e-3, rtol=0, msg=lambda text, n=name: f"{n}: {text}")


def test_blur_agrees_with_scipy_away_from_the_border() -> None:
    images = torch.rand(2, 3, 64, 64, generator=generator(1))
    result = strongest(images, blur=0.03)
    expected = gaussian_filter(images[0].numpy(), (0, 1.92, 1.92), truncate=8)
    np.testing.assert_allclose(result[0, :, 12:-12, 12:-12], expected[:, 12:-12, 12:-12], atol=1e-4)


def test_noise_is_normal_of_the_drawn_strength_and_without_colour_on_images_without() -> None:
    colour = torch.full((2, 3, 64, 64), 0.5)
    colour[:, 1] = 0.6
    grey = torch.full((2, 3, 64, 64), 0.5)
    static = (strongest(colour, noise=0.1) - colour)[0]
    assert kstest(static.flatten().numpy() / 0.1, "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(static.flatten(1).numpy())[np.triu_indices(3, 1)]).max() < 0.06
    result = strongest(grey, noise=0.1)
    assert torch.equal(result, result[:, :1].expand_as(result))


def test_erased_rectangle_has_the_given_share_of_the_area() -> None:
    images = torch.rand(200, 1, 64, 64, generator=generator(1))
    result = augment(images, policy(erase=0.2), generator())
    shares = (result != images).float().mean((1, 2, 3))
    assert shares.max() <= 0.22
    assert 0.05 < shares.mean() < 0.1  # half of the strength, less what hangs over the border


def test_probability_is_the_share_of_images_that_change() -> None:
    images = torch.rand(2000, 1, 8, 8, generator=generator(1))
    changed = (augment(images, policy(polarity=0.3), generator()) != images).flatten(1).any(1)
    assert binomtest(int(changed.sum()), 2000, 0.3).pvalue > 0.001


def test_strength_is_drawn_evenly_between_minus_and_plus() -> None:
    paper = torch.full((2000, 1, 4, 4), 0.5)
    shift = augment(paper, policy(brightness=0.2), generator())[:, 0, 0, 0] - 0.5
    assert kstest(shift.numpy(), "uniform", args=(-0.2, 0.4)).pvalue > 0.001


def test_number_is_a_strength_and_for_a_switch_a_probability() -> None:
    chosen = policy(turn=5, polarity=0.3)
    assert (chosen.turn.strength, chosen.turn.probability) == (5, 1)
    assert (chosen.polarity.strength, chosen.polarity.probability) == (1, 0.3)
    assert chosen.active() == {"turn", "polarity"}
    assert chosen.without("turn") == policy(polarity=0.3)
    assert chosen.only("polarity") == policy(polarity=1)


@pytest.mark.parametrize(
    ("ingredients", "message"),
    [
        ({"rotate": 5}, "rotate: no such ingredient; there are turn, shift, scale"),
        ({"noise": 3}, "noise: strength 3 is more than 1"),
        ({"noise": {"strength": 0.1, "chance": 1}}, "augmentation.noise.chance"),
        ({"polarity": 2}, "augmentation.polarity.probability"),
    ],
)
def test_wrong_policy_is_refused_by_name(ingredients: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_section(FinetuneParams, Path("params.yaml"), {"augmentation": ingredients})
