"""What is compared: equal budgets, and one ingredient at a time."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from tasks.certificate import fallen_behind, replaced
from tasks.errors import BadInput
from tasks.params import METHODS, CertifyParams, FinetuneParams, Phase, load_section
from tasks.recipes import ablation_recipes, epochs_for, method_recipe, scale_phases, without_each
from tasks.trials import Outcome, Trial

FINETUNE = load_section(FinetuneParams, Path("params.yaml"))
CERTIFY = load_section(CertifyParams, Path("params.yaml"))


def test_every_method_has_the_same_epochs_and_as_many_rates() -> None:
    recipes = [method_recipe(name, FINETUNE, CERTIFY, 13) for name in METHODS]
    assert {sum(p.epochs for p in recipe.phases) for recipe in recipes} == {13}
    assert len({len(recipe.rates) for recipe in recipes}) == 1
    assert [recipe.pretrained for recipe in recipes] == [False, True, True, True, True]


def test_methods_open_what_their_names_say() -> None:
    opened = {name: [p.open for p in method_recipe(name, FINETUNE, CERTIFY, 12).phases] for name in METHODS}
    assert opened["scratch"] == opened["full"] == ["all"]
    assert opened["probe"] == ["head"]
    assert opened["lp-ft"] == ["head", "all"]
    assert opened["gradual"] == [p.open for p in FINETUNE.phases]


def test_scratch_is_not_held_back_by_what_belongs_to_pretrained_stages() -> None:
    assert method_recipe("scratch", FINETUNE, CERTIFY, 12).params.layer_decay == 1
    assert method_recipe("full", FINETUNE, CERTIFY, 12).params == FINETUNE


@pytest.mark.parametrize("epochs", [3, 4, 7, 12, 40])
def test_scaled_phases_add_up_and_none_is_empty(epochs: int) -> None:
    phases = [
        Phase(open="head", epochs=1, rate=1),
        Phase(open=2, epochs=9, rate=0.5),
        Phase(open="all", epochs=30, rate=1),
    ]
    scaled = scale_phases(phases, epochs)
    assert sum(p.epochs for p in scaled) == epochs
    assert min(p.epochs for p in scaled) >= 1
    assert scale_phases(phases, 40) == phases


def test_budget_too_small_for_the_phases_is_refused() -> None:
    with pytest.raises(BadInput, match="2 epochs cannot hold 3 phases"):
        scale_phases([Phase(open="head", epochs=5, rate=1)] * 3, 2)


def test_few_images_get_as_many_epochs_as_the_least_steps_take() -> None:
    certify = CERTIFY.model_copy(update={"epochs": 12, "least_steps": 150})
    assert epochs_for(50, certify, FINETUNE) == 38  # 4 steps an epoch: 152 steps
    assert epochs_for(1000, certify, FINETUNE) == 12


def test_ablation_leaves_out_each_ingredient_that_is_switched_on() -> None:
    names = [recipe.name for recipe in ablation_recipes(FINETUNE, CERTIFY, 12)]
    assert names[:3] == ["full recipe", "pretraining", "unfreezing"]
    assert {"layer decay", "weight decay", "label smoothing", "augmentation: turn"} <= set(names[3:])
    assert len({recipe.model_dump_json(exclude={"name"}) for recipe in ablation_recipes(FINETUNE, CERTIFY, 12)}) == len(
        names
    )


def test_a_seed_that_collapses_at_the_chosen_rate_tries_the_whole_grid() -> None:
    recipe = method_recipe("scratch", FINETUNE, CERTIFY, 12)
    trials = [Trial(recipe=recipe, labels=5, seed=seed) for seed in (2, 3)]
    tuned = Outcome(name="scratch", labels=5, seed=1, losses={0.006: 0.7, 0.02: 0.9}, best=0.006)
    fine = Outcome(name="scratch", labels=5, seed=2, losses={0.006: 0.8}, best=0.006)
    collapsed = Outcome(name="scratch", labels=5, seed=3, losses={0.006: 2.3}, best=0.006)
    assert fallen_behind(trials, [fine, collapsed], [tuned], 1.5) == trials[1:]
    own = collapsed.model_copy(update={"losses": {0.002: 0.8, 0.006: 2.3}, "best": 0.002})
    assert replaced([fine, collapsed], [own]) == [fine, own]


class Ingredient(BaseModel):
    strength: float = Field(ge=0)
    probability: float = Field(default=1, ge=0, le=1)


class Policy(BaseModel):
    noise: Ingredient = Ingredient(strength=0)
    blur: Ingredient = Ingredient(strength=0)


class Trainer(BaseModel):
    seconds: float = Field(default=20, ge=0)


class Knobs(BaseModel):
    """A record as it may look one day."""

    policy: Policy
    decay: float = Field(gt=0, le=1)
    pull: float = Field(default=0, ge=0)
    drop: float = Field(default=0, ge=0, lt=1)
    batch: int = Field(gt=0)
    trainer: Trainer = Trainer()


def test_new_fields_become_ingredients_and_machinery_does_not() -> None:
    knobs = Knobs(
        policy=Policy(noise=Ingredient(strength=0.2)), decay=0.8, pull=0.1, batch=16, trainer=Trainer(seconds=5)
    )
    found = dict(without_each(knobs))
    assert list(found) == ["policy: noise", "decay", "pull"]
    assert found["policy: noise"].policy.noise.strength == 0
    assert (found["decay"].decay, found["decay"].pull) == (1, 0.1)
    assert found["pull"].pull == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rates": {**CERTIFY.rates, "full": [0.1]}}, "a grid of equal length"),
        ({"rates": {k: v for k, v in CERTIFY.rates.items() if k != "probe"}}, "rates must give scratch, probe"),
        ({"seeds": [1, 1, 2]}, "at least three different"),
        ({"labels": [0]}, "labels must be positive"),
    ],
)
def test_unfair_or_empty_parameters_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        load_section(CertifyParams, Path("params.yaml"), change)


def test_quick_changes_what_it_names_and_keeps_the_rest() -> None:
    quick = CERTIFY.in_a_hurry()
    assert quick.epochs < CERTIFY.epochs
    assert quick.lp_ft_rate == CERTIFY.lp_ft_rate
