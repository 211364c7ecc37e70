"""What is said of a camera's frames: each fault is found, and nothing is where there is none."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blob import CAMERA, SHAPE, Blob, frame_with
from tiny_onnx import hand_frame, tiny_model

from dor3d.cli import main
from dor3d.data.synthetic import generator
from dor3d.errors import InputError
from dor3d.frames import Frame
from dor3d.geometry import Pinhole
from dor3d.hand.scene import read_sensor
from dor3d.hand.stage import SceneConfig, draw_scene
from dor3d.predict import Predictor
from dor3d.predict.check import Finding, check_files, check_frames
from dor3d.predict.planes import plane_test
from dor3d.predict.scale import RATIOS, focal_ratio, hand_length
from dor3d.predict.sights import Sighting
from dor3d.skeleton import FINGER_JOINTS, WRIST

HAND = (0.0, 0.0, 500.0)


def found(
    depths: Sequence[np.ndarray],
    camera: Pinhole = CAMERA,
    where: tuple[float, float, float] = HAND,
    *,
    grows: bool = False,
    **options: object,
) -> dict[str, Finding]:
    """Findings by what they are about, of a network that sees discs."""
    predictor = Predictor(Blob(grows=grows), camera, locator=lambda *_: [Sighting(where, 0.9)])
    findings = check_frames([Frame("x.npy", i, depth, True) for i, depth in enumerate(depths)], predictor, **options)
    levels = [one.level for one in findings]
    assert levels == sorted(levels, key=("error", "warning", "fine").index)  # the gravest first
    assert len({one.about for one in findings}) == len(findings)
    return {one.about: one for one in findings}


def noisy(frame: np.ndarray, share: float, seed: int) -> np.ndarray:
    return (frame * (1 + np.random.default_rng(seed).normal(0, share, frame.shape))).astype(np.float32)


def test_good_frames_are_fine():
    seen = found([noisy(frame_with(HAND), 0.001, i) for i in range(5)], side="right")
    assert {one.level for one in seen.values()} == {"fine"}
    assert set(seen) == {"frames", "readings", "noise", "depth", "hand", "scale", "mirror"}
    assert "5 frames can be used" in seen["frames"].said and "5 hands in 5 frames, 500 mm" in seen["hand"].said


@pytest.mark.parametrize("slant", [0.0, 0.3, -0.5])
def test_distances_along_rays_are_told_from_depths(slant):
    """On a wall that slants, with a hand before it and noise."""
    camera = Pinhole(160.0, 160.0, 159.5, 119.5, 320, 240)
    x, y = (camera.rays(np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), -1))[..., i] for i in (0, 1))
    wall = 1500 / (1 + slant * x)
    depth = np.where(frame_with(HAND) < 1000, 500, wall).astype(np.float32)
    assert found([noisy(depth, 0.002, 0)], camera)["depth"].level == "fine"
    said = found([noisy(depth * np.sqrt(1 + x**2 + y**2), 0.002, 0)], camera)["depth"]
    assert said.level == "error" and "Walls are bowls: these are distances along the rays" in said.said


def test_where_there_is_no_wall_or_a_narrow_one_nothing_is_said():
    ball = frame_with(HAND)
    ball[ball > 1000] = 0
    assert "depth" not in found([ball])
    rays = CAMERA.rays(np.stack(np.meshgrid(np.arange(40.0) + 140, np.arange(30.0) + 105), -1))
    assert plane_test(np.full((30, 40), 800.0, np.float32), rays) is None


@pytest.mark.parametrize(("share", "level"), [(0.002, "fine"), (0.02, "warning")])
def test_noise_between_frames(share, level):
    seen = found([noisy(frame_with(HAND), share, i) for i in range(4)])
    assert seen["noise"].level == level
    assert ("trembles by 1.9% of its distance" in seen["noise"].said) == (level == "warning")


def test_readings_that_come_and_go():
    rng, frames = np.random.default_rng(0), []
    for _ in range(4):
        frame = frame_with(HAND)
        frame[rng.random(frame.shape) < 0.15] = 0
        frames.append(frame)
    seen = found(frames)
    assert seen["interference"].level == "warning" and "come and go. Does another depth" in seen["interference"].said
    assert "noise" not in seen  # what rests is still


def test_frames_that_do_not_follow_each_other_say_nothing_of_noise():
    frames = [frame_with(HAND), frame_with(HAND) * np.float32(0.7)]
    assert not {"noise", "interference"} & set(found(frames))


def test_holes():
    frame = frame_with(HAND)
    frame[100:140, 150:175] = 0
    said = found([frame])["readings"]
    assert said.level == "warning" and "of the hand has none. Is the scene too near" in said.said
    empty = np.zeros((240, 320), np.float32)
    empty[:10, :100] = 700
    assert "98% of the pixels have none" not in found([frame_with(HAND)])["readings"].said
    assert found([empty])["readings"].level == "warning" and found([empty])["hand"].level == "warning"


def test_units_sizes_and_broken_files_are_passed_on():
    seen = found([frame_with(HAND) / 1000, frame_with(HAND) / 1000])
    assert seen["unit"].level == "error" and "--depth-unit-mm 1000" in seen["unit"].said and "hand" not in seen
    seen = found([np.full((480, 640), 500, np.uint16)])
    assert seen["camera"].level == "error" and "320x240" in seen["camera"].said
    seen = found([frame_with(HAND), np.zeros((240, 320), np.uint16)])
    assert seen["frames"].level == "warning" and "1 of 2 cannot be used" in seen["frames"].said
    assert found([])["frames"] == Finding("error", "frames", "There are none.")


def test_far_hands():
    far = (0.0, 0.0, 1700.0)
    seen = found([frame_with(far, radius=90.0)], where=far)
    assert seen["distance"].level == seen["resolution"].level == "warning"
    assert "A pixel covers 5.9 mm" in seen["resolution"].said


def length(scale: float) -> float:
    way = SHAPE[[WRIST, *FINGER_JOINTS["middle"]]] * (280 / 48, 280 / 48, 1)
    return float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum()) * scale


def fitting(said: Finding) -> float:
    """The focal lengths that a hand would fit, as a ratio."""
    return float(said.said.split("With ")[1].split()[0])


@pytest.mark.parametrize(("scale", "level"), [(1.0, "fine"), (1.08, "fine"), (1.4, "error"), (0.7, "error")])
def test_a_ruler_tells_a_wrong_scale(scale, level):
    said = found([frame_with(HAND)], grows=True, hand_mm=length(scale))["scale"]
    assert said.level == level
    assert level == "fine" or fitting(said) == pytest.approx(1 / scale, abs=0.06)


def test_a_network_that_sees_but_one_size_is_taken_at_its_word():
    told = np.full((3, len(RATIOS)), 200.0)
    assert focal_ratio(told, 160.0) == pytest.approx(1.25)
    assert focal_ratio(np.full((3, len(RATIOS)), np.nan), 160.0) is None


def test_mirrored_images():
    mirrored = [frame_with(HAND, thumb=-1)] * 3
    assert found(mirrored)["hand"].level == "fine" and "mirror" not in found(mirrored)
    said = found(mirrored, side="right")["mirror"]
    assert said.level == "error" and "100% of the hands look like the other hand" in said.said
    some = found([*mirrored, frame_with(HAND), frame_with(HAND)], side="right")["mirror"]
    assert some.level == "warning" and "60%" in some.said


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = str(tiny_model(tmp_path / "tiny.onnx"))
    np.save(tmp_path / "frames.npy", np.stack([hand_frame(), hand_frame()]))
    words = ["check", str(tmp_path / "frames.npy"), "--camera", "287,287,160,120", "--model", model]
    main(words)
    text = capsys.readouterr().out
    assert "fine     frames        2 frames can be used.\n" in text
    main([*words, "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [set(one) for one in findings] == [{"level", "about", "said"}] * len(findings)
    assert len(findings) == text.count("\n")
    np.save(tmp_path / "metres.npy", hand_frame()[None] / 1000)
    main(["check", str(tmp_path / "metres.npy"), *words[2:], "--depth-unit-mm", "1000"])
    assert "1 frame can be used" in capsys.readouterr().out
    for more, said in ((["--hand-mm", "20"], "No hand is so long; got 20 mm"), (["--locator", "x"], "no locator x")):
        with pytest.raises(SystemExit):
            main([*words, *more])
        assert said in capsys.readouterr().err
    with pytest.raises(InputError, match="No input"):
        check_files([], "d435")


@pytest.mark.slow
def test_the_model_that_ships_shows_a_wrong_focal_length():
    """By about as much as it is wrong, although the network draws hands to the usual size."""
    camera, u, v = Pinhole.preset("d435-640"), np.arange(640), np.arange(480)
    frames, lengths = [], []
    for i in range(12):
        rng = generator(5, i)
        scene = draw_scene(rng, SceneConfig(), camera)
        frames.append(Frame("x", i, read_sensor(scene, u, v, rng), True))
        lengths.append(hand_length(scene.joints_mm))

    def told(ratio: float) -> Finding:
        lens = replace(camera, fx=camera.fx * ratio, fy=camera.fy * ratio)
        found = check_frames(frames, Predictor("compact", lens, locator="rule"), hand_mm=float(np.median(lengths)))
        return next(one for one in found if one.about == "scale")

    assert told(1.0).level == "fine"
    for ratio in (1.4, 0.7):
        said = told(ratio)
        assert said.level == "error"
        assert fitting(said) * ratio == pytest.approx(1.0, abs=0.25)
