"""Attacks stay within their radius, find what they must on a linear network, and tell brittle from robust."""

import pytest
import torch
from torch import nn

from tasks.attacks import ATTACKS, Network, attack
from tasks.errors import BadInput

PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}
IMAGES = torch.rand(70, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def linear(scale: float, even: bool = False) -> Network:
    """Two classes by the sum of weights times pixels, minus what the mid-grey image gives."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        weights = torch.ones(192) if even else torch.randn(192).sign()
        net[1].weight.copy_(torch.stack([weights, -weights]) * scale)
        net[1].bias.copy_(-net[1].weight.sum(1) * 0.5)
    return Network(net, PLAIN)


def test_fgsm_on_a_linear_network_moves_every_pixel_against_its_weight() -> None:
    network = linear(1.0)
    truth = network(IMAGES).argmax(1)
    weights = network.net[1].weight.sign().view(2, 3, 8, 8)
    wanted = IMAGES - 0.05 * weights[truth]
    assert torch.allclose(attack("fgsm", network, IMAGES, truth, 0.05, 1), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("scale", [0.01, 100.0])  # however flat the loss where the network is sure
def test_adversarial_images_stay_within_the_radius_and_reach_it(name: str, scale: float) -> None:
    network = linear(scale)
    truth = network(IMAGES).argmax(1)
    found = attack(name, network, IMAGES, truth, 4 / 255, 5)
    assert float((found - IMAGES).abs().max()) == pytest.approx(4 / 255, abs=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, attack(name, network, IMAGES, truth, 4 / 255, 5))


def test_many_steps_hurt_at_least_as_much_as_one() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 4))
    network = Network(net, PLAIN)
    truth = network(IMAGES).argmax(1)
    losses = {n: _mean_loss(network, attack(n, network, IMAGES, truth, 0.1, 10), truth) for n in ATTACKS}
    assert losses["pgd"] > losses["fgsm"] > _mean_loss(network, IMAGES, truth)


def test_a_brittle_network_falls_and_a_robust_one_stands() -> None:
    brittle, robust = linear(1.0), linear(1.0, even=True)
    images = torch.cat([IMAGES + 0.15, IMAGES - 0.15]).clamp(0, 1)  # light or dark: clear to the even weights
    accuracies = []
    for network in (brittle, robust):
        truth = network(images).argmax(1)
        accuracies.append(
            float((network(attack("pgd", network, images, truth, 0.1, 10)).argmax(1) == truth).float().mean())
        )
    assert accuracies == pytest.approx([0, 1], abs=0.1)


def test_an_unknown_attack_is_an_error() -> None:
    with pytest.raises(BadInput, match="there are fgsm, pgd"):
        attack("magic", linear(1.0), IMAGES, torch.zeros(70, dtype=torch.long), 0.1, 1)


def _mean_loss(network: Network, images: torch.Tensor, truth: torch.Tensor) -> float:
    return float(nn.functional.cross_entropy(network(images), truth))
