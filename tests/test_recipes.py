"""Recipes: named configs that are whole, and fields that are changed by their types or refused."""

import json

import pytest

from dor3d.data.sources import CropShape, open_sources
from dor3d.errors import InputError
from dor3d.skeleton import JOINTS
from dor3d.train.config import TrainConfig
from dor3d.train.recipes import RECIPES, get_recipe, override


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_whole_and_survive_json(name: str) -> None:
    config = get_recipe(name)
    assert config.recipe == name
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_paper_recipes_have_the_papers_numbers() -> None:
    config = get_recipe("synth-swin-b")
    assert (config.lr, config.weight_decay, config.batch, config.schedule) == (3.5e-4, 1e-4, 32, "paper")
    assert (config.model.size, config.model.labels, config.loss) == (224, "hard", "paper")


def test_overrides_are_read_by_type() -> None:
    changes = {
        "lr": "2e-3",
        "samples": "1e5",
        "batch": 16,
        "backbone": "resnet18",
        "model.uv_maps": "no",
        "cube-mm": "250,300",
        "joints": "a,b",
        "drop_path": "none",
        "data.body": "0.5",
    }
    config = override(get_recipe("synth-compact"), changes)
    assert (config.lr, config.samples, config.batch, config.total_steps) == (2e-3, 100_000, 16, 6250)
    assert (config.model.backbone, config.model.uv_maps, config.model.cube_mm) == ("resnet18", False, (250.0, 300.0))
    assert (config.model.joints, config.model.drop_path) == (("a", "b"), None)
    assert config.data["body"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bacth": 3}, "Unknown key; got bacth; expected one of batch"),
        ({"model.backbon": "x"}, "Unknown key; got model.backbon; expected one of backbone"),
        ({"batch": "many"}, "Wrong value for batch; got 'many'; expected int"),
        ({"batch": "1.5"}, "Wrong value for batch"),
        ({"lr": True}, "Wrong value for lr"),
        ({"loss": "l2"}, "Wrong value for loss; got 'l2'"),
        ({"uv_maps": "maybe"}, "Wrong value for uv_maps"),
        ({"cube_mm": "300"}, "Wrong value for cube_mm"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"lr": "-1"}, "lr must be positive"),
        ({"ema": 1}, "ema must lie in"),
        ({"recipe": "x"}, "Unknown key"),
    ],
)
def test_bad_overrides_end_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        override(get_recipe("synth-compact"), changes)


def test_a_field_that_data_and_model_have_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"upright is a field of the data and of the model; expected data\.upright or"):
        override(get_recipe("synth-wide"), {"upright": "true"})
    config = override(get_recipe("synth-wide"), {"data.upright": "true"})
    with pytest.raises(InputError, match="Wrong value for upright; got True; expected float"):
        open_sources(config.data, CropShape(96, (280.0, 300.0), JOINTS), 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dense_weight": 1.0}, "Head ordinal knows no dense_weight; got 1.0; expected head offset or pixel-offset or"),
        ({"anchor_weight": 1.0, "model": {"head": "heatmap"}}, "Head heatmap knows no anchor_weight"),
        ({"optimizer": "sgd"}, "Wrong value for optimizer; got 'sgd'"),
        ({"schedule": "papr"}, "Wrong value for schedule"),
        ({"lr": "fast"}, "Wrong value for lr; got 'fast'; expected float"),
    ],
)
def test_configs_that_would_not_do_what_they_say_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TrainConfig.from_json(fields)


def test_unknown_recipes_name_the_known_ones() -> None:
    with pytest.raises(InputError, match="Unknown recipe; got synth; expected one of synth-compact"):
        get_recipe("synth")
