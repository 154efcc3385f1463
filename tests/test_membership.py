"""The attack catches a model that remembers and clears one that does not; its intervals hold what they say."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from tasks.estimates import clustered_mean
from tasks.intervals import Interval
from tasks.membership import attack_auc, attack_tpr, log_losses, placements
from tasks.resampling import Clusters


def alone(n: int) -> Clusters:
    return Clusters(np.arange(n), n, "images")


def attack(members: np.ndarray, others: np.ndarray, fpr: float = 0.01) -> tuple[tuple, tuple]:
    sides = alone(len(members)), alone(len(others))
    return attack_auc(members, others, *sides, 0.95), attack_tpr(members, others, *sides, 0.95, fpr)


def losses(seed: int, n: int, remembered: float) -> tuple[np.ndarray, np.ndarray]:
    """Log losses of n members and n others, and of a reference that saw neither; each image is hard or easy by itself.

    A model that remembers takes the share `remembered` of a member's loss away.
    """
    random = np.random.default_rng(seed)
    hard = random.gamma(1.0, 0.5, (2, n))
    own = hard * np.exp(0.3 * random.normal(size=(2, n)))
    reference = hard * np.exp(0.3 * random.normal(size=(2, n)))
    own[0] *= 1 - remembered
    return own, reference


def test_a_model_that_memorised_noise_is_caught() -> None:
    """Zero loss on few noisy images, chance elsewhere: what training to zero loss on random labels comes to."""
    random = np.random.default_rng(1)
    members = log_losses(np.clip(0.999 + 1e-4 * random.normal(size=(80, 2)), 0, 1), np.zeros(80, dtype=int))
    shares = random.dirichlet(np.ones(4), 600)
    others = log_losses(shares, random.integers(0, 4, 600))
    (area, ends), (rate, rates) = attack(-members, -others)
    assert ends.low > 0.95
    assert area <= ends.high
    assert rates.low > 0.5
    assert rate > 0.9


def test_an_honest_model_is_not() -> None:
    own, _ = losses(2, 400, remembered=0.0)
    (_, ends), (_, rates) = attack(-own[0], -own[1])
    assert ends.low < 0.5 < ends.high < 0.6
    assert rates.low < 0.01 < rates.high < 0.08


def test_calibration_by_difficulty_sees_what_the_loss_alone_hides() -> None:
    own, reference = losses(3, 400, remembered=0.5)
    plain = attack(-own[0], -own[1])
    calibrated = attack(*(reference - own))
    assert calibrated[0][0] > plain[0][0] + 0.05
    assert calibrated[1][0] > plain[1][0]


def test_calibration_does_not_blame_a_model_for_hard_strangers() -> None:
    own, reference = losses(4, 400, remembered=0.0)
    own[1], reference[1] = own[1] * 3, reference[1] * 3  # test holds harder images, nothing was remembered
    (_, plain), _ = attack(-own[0], -own[1])
    log = np.log(reference) - np.log(own)
    (_, calibrated), _ = attack(*log)
    assert plain.low > 0.6
    assert calibrated.low < 0.5 < calibrated.high


def test_the_area_is_scikit_learns_and_the_rate_is_read_off_its_curve() -> None:
    random = np.random.default_rng(5)
    members, others = random.normal(0.5, 1, 150).round(1), random.normal(size=230).round(1)  # with ties
    truth, scores = np.repeat([1, 0], [150, 230]), np.concatenate([members, others])
    (area, _), (rate, _) = attack(members, others, fpr=0.05)
    assert area == pytest.approx(roc_auc_score(truth, scores))
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert rate == pytest.approx(true[false <= 0.05].max())


def test_the_variance_is_delongs() -> None:
    """DeLong et al. 1988, equations 4 to 6, written out over all pairs."""
    random = np.random.default_rng(6)
    members, others = random.normal(0.5, 1, 25), random.normal(size=40)
    wins = (members[:, None] > others[None]) + 0.5 * (members[:, None] == others[None])
    wanted = wins.mean(1).var(ddof=1) / 25 + wins.mean(0).var(ddof=1) / 40
    won, lost = placements(members, others)
    assert won == pytest.approx(wins.mean(1))
    assert lost == pytest.approx(wins.mean(0))
    spread = clustered_mean(won, alone(25))[1] ** 2 + clustered_mean(lost, alone(40))[1] ** 2
    assert spread == pytest.approx(wanted)


@pytest.mark.parametrize("shift", [0.0, 0.8, 2.5])
def test_the_interval_of_the_area_covers_the_truth(shift: float) -> None:
    truth, hits = norm.cdf(shift / np.sqrt(2)), 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        _, ends = attack_auc(random.normal(shift, 1, 60), random.normal(size=80), alone(60), alone(80), 0.95)
        hits += ends.low <= truth <= ends.high
    assert hits / 300 >= 0.92


@pytest.mark.parametrize(("shift", "n"), [(0.0, 120), (1.0, 500), (3.0, 500)])
def test_the_interval_of_the_rate_covers_the_truth_though_the_threshold_is_estimated(shift: float, n: int) -> None:
    truth, hits = norm.sf(norm.isf(0.01) - shift), 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        _, ends = attack_tpr(random.normal(shift, 1, 300), random.normal(size=n), alone(300), alone(n), 0.95, 0.01)
        hits += ends.low <= truth <= ends.high
    assert hits / 300 >= 0.94


def test_clusters_widen_both_intervals() -> None:
    random = np.random.default_rng(7)
    codes = np.repeat(np.arange(40), 5)
    members, others = random.normal(0.7, 1, 40)[codes], random.normal(size=40)[codes]
    together, apart = Clusters(codes, 40, "groups"), alone(200)

    def widths(clusters: Clusters) -> list[float]:
        found = attack_auc(members, others, clusters, clusters, 0.95)
        rate = attack_tpr(members, others, clusters, clusters, 0.95, 0.05)
        return [ends.high - ends.low for _, ends in (found, rate)]

    assert all(wide > 1.5 * narrow for wide, narrow in zip(widths(together), widths(apart), strict=True))


def test_too_few_others_to_place_the_threshold_leave_the_rate_open() -> None:
    """Among 50 others one in a hundred is none or more: the threshold may lie anywhere above the best few."""
    members = np.linspace(0, 1, 50)
    rate, ends = attack_tpr(members, np.linspace(-1, 0, 50), alone(50), alone(50), 0.95, 0.01)
    assert ends.low == 0 < rate
    _, ends = attack_tpr(np.array([-1.0, 2.0]), np.array([0.0, 0.1, 0.2]), alone(2), alone(3), 0.95, 0.5)
    assert ends == Interval(0.0, 1.0)
