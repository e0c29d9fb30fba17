"""Recipes: YAML and back, and sentences for every mistake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headwater.errors import UserError
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import Recipe
from headwater.training.config import TrainerConfig, learning_rate
from headwater.training.prior import level_weights

SHIPPED = Path(__file__).parents[2] / "src" / "headwater" / "training" / "recipes"


def test_yaml_and_back(tmp_path: Path) -> None:
    recipe = Recipe(
        data="digits",
        network=UNetArchitecture(channel_mult=(1, 2), dropout=0.1),
        noise="simplex",
        noise_options={"octaves": 4},
        augment=("flip",),
    )
    recipe.save(tmp_path / "r.yaml")
    assert Recipe.load(tmp_path / "r.yaml") == recipe
    assert Recipe.load(tmp_path / "r.yaml", sample_every=7).sample_every == 7


def test_training_leaves_out_what_stands(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: digits\ntraining: {steps: 7}\n")
    training = Recipe.load(tmp_path / "r.yaml").training
    assert training == replace(Recipe(data="digits").training, steps=7)
    assert training != TrainerConfig(steps=7)


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: digits\ntraining: {lr: 1e-3}\n")
    assert Recipe.load(tmp_path / "r.yaml").training.lr == 0.001


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"training": {"stesp": 3}}, "did you mean 'steps'"),
        ({"steps": 3}, "unknown field 'steps'"),
        ({"training": 3}, "training must be"),
        ({"network": {"model_chanels": 32}}, "did you mean 'model_channels'"),
        ({"training": {"steps": "many"}}, "steps is 'many'"),
        ({"training": {"steps": 0}}, "steps is 0"),
        ({"training": {"precision": "fp8"}}, "choose one of"),
        ({"shape": [1, 32]}, "give 3"),
        ({"training": {"ema": 1.0}}, "ema is 1.0"),
        ({"weighting": "min-snr", "variance": "learned"}, "choose weighting simple"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Recipe.from_dict({"data": "digits", **values})


def test_a_recipe_needs_data() -> None:
    with pytest.raises(UserError, match="data"):
        Recipe.from_dict({"seed": 3})


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        Recipe.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        Recipe.load(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="holds no recipe"):
        Recipe.load(tmp_path / "list.yaml")
    (tmp_path / "code.yaml").write_text("data: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="not valid YAML"):
        Recipe.load(tmp_path / "code.yaml")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_build(path: Path) -> None:
    config = Recipe.load(path).prior_config()
    config.law()
    config.build_network()
    assert config.shape[1] >= 32


def test_learning_rate_rises_and_falls() -> None:
    config = TrainerConfig(steps=1000, lr=0.1, warmup=10, decay="cosine")
    assert learning_rate(config, 0) == pytest.approx(0.01)
    assert learning_rate(config, 500) == pytest.approx(0.05)
    assert learning_rate(config, 999) < 1e-6
    flat = TrainerConfig(steps=1000, lr=0.1, warmup=10)
    assert learning_rate(flat, 999) == 0.1


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_min_snr_is_one_law_in_every_target(predicts: str) -> None:
    """Divided by the target's error in units of x0 error, the weight is min(snr, 5) for each."""
    recipe = Recipe.from_dict({"data": "digits", "weighting": "min-snr", "predicts": predicts})
    process = recipe.process.build()
    snr = (process.alpha / process.sigma)[1:] ** 2
    # eps error = snr * x0 error, v error = (snr + 1) * x0 error on a variance-preserving path.
    scale = {"eps": snr, "x0": 1.0, "v": snr + 1}[predicts]
    got = level_weights(recipe, process.half_log_snr)[1:].double() * scale
    assert ((got - snr.clamp(max=5)) / snr.clamp(max=5)).abs().max() < 1e-6
