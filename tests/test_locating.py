"""A locator's training: its task, its recipe, and runs of it from the command line to weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dor3d.cli import main
from dor3d.data.rooms import Rooms
from dor3d.errors import InputError, ModelError
from dor3d.hand.room import RoomConfig
from dor3d.model.checkpoint import load_locator, load_model, read_tensors
from dor3d.model.locator import Locator, LocatorConfig
from dor3d.predict.sights import Sighting
from dor3d.train.checkpoints import state_path
from dor3d.train.config import TrainConfig
from dor3d.train.locating import CUTOFF_MM, LocateTask, judge_frame, locator_sheet
from dor3d.train.measure import validate
from dor3d.train.optimizer import make_optimizer
from dor3d.train.recipes import get_recipe, override
from dor3d.train.run import task_of
from dor3d.train.start import make_sources

SMALL = ["--batch", "4", "--validation", "4", "--workers", "0", "--locator.width", "8", "--locator.merged", "16"]


def seen(*centers: tuple[float, float, float]) -> list[Sighting]:
    return [Sighting(center, 0.9) for center in centers]


HAND, OTHER = (0.0, 0.0, 500.0), (300.0, 0.0, 800.0)
NEAR_IT = (0.0, 30.0, 540.0)  # 50 mm off


@pytest.mark.parametrize(
    ("found", "hands", "asked", "expected"),
    [
        ([], [], [], (0, 0, 0)),
        ([HAND], [HAND], [True], (0, 0, 0)),
        ([NEAR_IT], [HAND], [True], (50, 0, 0)),
        ([], [HAND], [True], (CUTOFF_MM, 1, 0)),
        ([HAND], [], [], (CUTOFF_MM, 0, 1)),
        ([OTHER], [HAND], [True], (CUTOFF_MM, 1, 1)),
        ([NEAR_IT, OTHER], [HAND], [True], ((50 + CUTOFF_MM) / 2, 0, 1)),
        ([NEAR_IT], [OTHER, HAND], [True, True], ((50 + CUTOFF_MM) / 2, 1, 0)),
        ([OTHER, NEAR_IT], [HAND, OTHER], [True, True], (25, 0, 0)),
        ([], [HAND], [False], (0, 0, 0)),
        ([NEAR_IT], [HAND], [False], (0, 0, 0)),
        ([NEAR_IT, OTHER], [HAND], [False], (CUTOFF_MM, 0, 1)),
    ],
)
def test_frames_are_judged(found, hands, asked, expected):
    """OSPA by hand: distance of what is assigned, the cutoff for what is missed or too much."""
    got = judge_frame(seen(*found), np.array(hands).reshape(-1, 3), np.array(asked, bool))
    assert got == pytest.approx(expected)


def locate_config(**changes: object) -> TrainConfig:
    return override(get_recipe("locator"), {"locator.width": 8, "locator.merged": 16, **changes})


def test_a_recipes_task_decides_what_is_trained():
    config = locate_config(batch=4)
    task = task_of(config)
    assert isinstance(task, LocateTask) and task.network(False).config == LocatorConfig(8, 16)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    sources = make_sources(config)
    assert isinstance(sources.train, Rooms) and isinstance(sources.validation, Rooms)
    assert sources.train.seed != sources.validation.seed
    walls = make_sources(override(config, {"data.furniture": "0", "data.walls": "[0.0, 0.0, 0.0]"})).train
    assert isinstance(walls, Rooms) and walls.config == RoomConfig(furniture=0, walls=(0.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"Unknown key of the rooms data; got furnitur; expected one of furniture"):
        make_sources(override(config, {"data.furnitur": "0"}))
    with pytest.raises(InputError, match=r"Unknown key; got locator.wide; expected one of"):
        override(config, {"locator.wide": "3"})
    with pytest.raises(ModelError, match="A locator needs channels"):
        override(config, {"locator.width": "0"})


def test_a_frame_without_hands_weighs_nothing_and_teaches_that_there_is_none():
    task = LocateTask(locate_config())
    net = task.network(False)
    numbers = task.numbers(net, task.nothing(torch.device("cpu")), torch.channels_last)
    assert torch.isfinite(numbers["loss"]) and numbers["error_mm"] == 0


def test_four_rooms_are_learnt_by_heart():
    """To a centimetre, no hand missed and none too many."""
    torch.manual_seed(0)
    config = locate_config(batch=4, optimizer="adamw", lr=5e-3)
    task, source = LocateTask(config), Rooms(RoomConfig(hands=(0.0, 1.0, 1.0)), 3)
    net, batch = task.network(False), source.batch(0, range(4))
    optimizer = make_optimizer(net, config)
    for step in range(160):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 160)  # at one rate the loss leaps now and then, by chance at the end
        optimizer.zero_grad()
        numbers = task.numbers(net, batch, torch.contiguous_format)
        numbers["loss"].backward()
        optimizer.step()
    assert numbers["error_mm"] < 10
    for module in net.modules():  # its statistics are of this batch
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net(batch.depth, batch.pitch)
    found = validate(task, net, source, 4, batch=4)
    assert found.error_mm < 20 and found.more == {"missed": 0, "false_alarms": 0}
    sheet = locator_sheet(found.shown, "step 160")
    assert sheet.shape[2] == 3 and sheet.shape[1] == 4 * (2 * 160 + 6)
    truth = locator_sheet([frame._replace(seen=[]) for frame in found.shown], "truth")
    assert (truth > 210).all(-1).sum() > 200 and (truth[30:] == truth[30:, :, :1]).all()  # white circles on grey
    assert (sheet != sheet[..., :1]).any()


def test_a_run_from_the_command_line_stops_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main(["train", "locator", *SMALL, "--steps", "4", "--validate-every", "2", "--out", str(whole)])
    capsys.readouterr()
    net = load_locator(whole)
    assert isinstance(net, Locator) and net.config == LocatorConfig(8, 16) and not net.training
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "validation_mm" in line]
    assert [line["step"] for line in measured] == [2, 4]
    assert {"validation_missed", "validation_false_alarms"} <= measured[0].keys()
    learnt = [line for line in lines if "loss" in line]
    assert learnt and {"heat", "offset", "depth", "error_mm"} <= learnt[0].keys()
    assert cv2.imread(str(whole / "samples" / "step-00000002.png")) is not None
    assert "Training of locator" in (whole / "report.html").read_text()
    words = ["train", "locator", *SMALL, "--steps", "4", "--checkpoint-every", "2", "--out", str(parts)]
    main(words)
    state_path(parts, 4).unlink()  # as a kill would have it
    main([*words, "--resume"])
    first, second = (read_tensors(folder / "model.safetensors")[0] for folder in (whole, parts))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_each_kind_of_network_is_opened_as_what_it_is(tmp_path: Path):
    main(["train", "locator", *SMALL, "--steps", "1", "--out", str(tmp_path / "locator")])
    with pytest.raises(ModelError, match="holds a network that finds hands; expected one that reads joints"):
        load_model(tmp_path / "locator")
    small = ["--steps", "1", "--batch", "2", "--size", "32", "--backbone", "lcnet_035", "--workers", "0"]
    main(["train", "synth-compact", *small, "--validation", "2", "--out", str(tmp_path / "pose")])
    with pytest.raises(ModelError, match=r"holds no network that finds hands. Train one: dor3d train locator"):
        load_locator(tmp_path / "pose")
