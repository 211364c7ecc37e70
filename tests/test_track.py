"""Following hands over a stream, with a network that sees a blob's middle: when it is lost, whose it is."""

import json

import cv2
import numpy as np
import pytest
from blob import CAMERA, Blob, frame_with
from tiny_onnx import hand_frame, tiny_model

from dor3d.cli import main
from dor3d.errors import CameraError, FrameError, InputError
from dor3d.geometry import Pinhole
from dor3d.predict import Predictor, Tracker
from dor3d.predict.sights import Sighting

RATE = 1 / 30


class Sought(Predictor):
    """Looks for hands where it is told to."""

    places: tuple[tuple[float, float, float], ...] = ()
    searches = 0

    def find(self, depth: np.ndarray, unit_mm: float) -> list[Sighting]:
        self.searches += 1
        return [Sighting(place, 0.9) for place in self.places]


def sought(*places: tuple[float, float, float], model: Blob | None = None, **options: object) -> Sought:
    predictor = Sought(model or Blob(), CAMERA, **options)
    predictor.places = places
    return predictor


def middle(hand) -> np.ndarray:
    return (hand.joints_mm.min(0) + hand.joints_mm.max(0)) / 2


def test_a_moving_hand_is_followed_with_one_look_a_frame():
    start, model = np.array([-100.0, 0.0, 500.0]), Blob()
    predictor = sought(tuple(start), model=model)
    tracker = Tracker(predictor, steady=False)
    way = [start + (8.0 * i, 20 * np.sin(i / 5), 6.0 * i) for i in range(25)]
    for i, where in enumerate(way):
        before = model.asked
        (hand,) = tracker(frame_with(tuple(where)), i * RATE)
        assert np.abs(middle(hand) - where).max() < 8
        assert model.asked - before == (1 if i else 4)  # at first both hands, twice
    assert predictor.searches == 1  # where a hand is expected it is not looked for


def test_what_users_get_is_at_most_a_frame_late_and_no_joint_is_behind_the_others():
    start = np.array([-120.0, 0.0, 500.0])
    raw, steady = Tracker(sought(tuple(start)), steady=False), Tracker(sought(tuple(start)))
    for i in range(30):
        frame = frame_with(tuple(start + (9.0 * i, 0.0, 0.0)))
        ((plain,), (smooth,)) = raw(frame, i * RATE), steady(frame, i * RATE)
    late = plain.joints_mm[:, 0] - smooth.joints_mm[:, 0]
    assert np.abs(late).max() < 9.0 and smooth.center_mm == pytest.approx(plain.center_mm, abs=1e-9)


def test_a_still_hand_trembles_less():
    rng, start = np.random.default_rng(0), (0.0, 0.0, 500.0)
    trackers = Tracker(sought(start), steady=False), Tracker(sought(start))
    poses: tuple[list, list] = ([], [])
    for i in range(90):
        frame = frame_with(tuple(start + rng.normal(0, 2.0, 3)))
        for tracker, kept in zip(trackers, poses, strict=True):
            kept.append(tracker(frame, i * RATE)[0].joints_mm)
    raw, steady = (np.array(kept[30:]).std(0).mean() for kept in poses)
    assert steady < 0.5 * raw


def test_a_hand_that_leaves_is_lost_and_found_again():
    start = (0.0, 0.0, 500.0)
    predictor = sought(start)
    tracker = Tracker(predictor)
    assert len(tracker(frame_with(start), 0.0)) == 1
    for i in range(1, 5):  # nothing is left of it, and nothing else is a hand
        assert tracker(frame_with(), i * RATE) == []
        assert predictor.searches == 1 + i  # it is looked for in the very frame that it is missed in
    assert tracker(frame_with((0.0, 0.0, 500.0), radius=9.0), 5 * RATE) == []  # too small to be one
    (hand,) = tracker(frame_with((30.0, 20.0, 520.0)), 6 * RATE)
    assert np.abs(middle(hand) - (30.0, 20.0, 520.0)).max() < 10


def test_a_hand_that_jumps_is_found_where_it_is():
    tracker = Tracker(predictor := sought((-150.0, 0.0, 500.0)), steady=False)
    tracker(frame_with((-150.0, 0.0, 500.0)), 0.0)
    predictor.places = ((180.0, 30.0, 700.0),)
    (hand,) = tracker(frame_with((180.0, 30.0, 700.0)), RATE)
    assert np.abs(middle(hand) - (180.0, 30.0, 700.0)).max() < 10


def test_two_hands_keep_their_order_and_never_become_one():
    left, right = np.array([-120.0, 0.0, 500.0]), np.array([120.0, 0.0, 500.0])
    tracker = Tracker(predictor := sought(tuple(left)), most=2, steady=False)
    tracker(frame_with(tuple(left)), 0.0)
    predictor.places = (tuple(left), tuple(right))
    for i in range(1, 12):  # the second is looked for now and then only
        hands = tracker(frame_with(tuple(left), tuple(right)), i * RATE)
    assert predictor.searches == 2 and [middle(hand)[0] < 0 for hand in hands] == [True, False]
    for i in range(12, 25):  # both to one place
        share = min(1.0, (i - 11) / 10)
        aside = np.array([1 - share, 1.0, 1.0])
        hands = tracker(frame_with(tuple(left * aside), tuple(right * aside)), i * RATE)
    predictor.places = ((0.0, 0.0, 500.0),)
    assert len(tracker(frame_with((0.0, 0.0, 500.0)), 25 * RATE)) == 1


@pytest.mark.parametrize("side", [1, -1])
def test_a_hand_stays_the_hand_that_it_is(side):
    """A few frames that say otherwise change nothing; many do."""
    start = (0.0, 0.0, 500.0)
    tracker = Tracker(sought(start))

    def sides(count: int, thumb: int) -> list[str]:
        return [tracker(frame_with(start, thumb=thumb))[0].handedness for _ in range(count)]

    own, other = ("right", "left") if side > 0 else ("left", "right")
    assert set(sides(20, side)) == {own}
    assert set(sides(4, -side)) == {own}
    assert sides(60, -side)[-1] == other


def test_a_hand_that_the_user_knows_is_never_the_other():
    start = (0.0, 0.0, 500.0)
    tracker = Tracker(sought(start, hand="left"))
    for i in range(40):
        (hand,) = tracker(frame_with(start), i * RATE)
        assert (hand.handedness, hand.handedness_confidence) == ("left", 1.0)


def test_a_network_that_does_not_tell_keeps_the_first_side():
    tracker = Tracker(sought((0.0, 0.0, 500.0), model=Blob(tells=False)))
    hands = [tracker(frame_with((0.0, 0.0, 500.0)), i * RATE)[0] for i in range(5)]
    assert {hand.handedness for hand in hands} == {"right"} and hands[0].confidence > 0.9


@pytest.mark.parametrize("then", [0.5, -3.0, 1.0, 2.0])
def test_time_that_does_not_pass_or_passes_long_begins_anew(then):
    """Backwards, twice the same, or after a pause: what was known is forgotten, and the pose comes as it is."""
    start, moved = (0.0, 0.0, 500.0), (25.0, 0.0, 500.0)
    predictor = sought(start)
    tracker = Tracker(predictor)
    for i in range(10):
        tracker(frame_with(start), 1.0 - (9 - i) * RATE)
    (hand,) = tracker(frame_with(moved), then)
    assert predictor.searches == 2
    (fresh,) = Tracker(sought(start))(frame_with(moved), 0.0)
    assert np.array_equal(hand.joints_mm, fresh.joints_mm)


def test_frames_without_a_time_come_at_the_rate():
    start = (0.0, 0.0, 500.0)
    timed, counted = Tracker(sought(start)), Tracker(sought(start), rate_hz=60.0)
    for i in range(8):
        frame = frame_with((3.0 * i, 0.0, 500.0))
        (a,), (b,) = timed(frame, i / 60), counted(frame)
    np.testing.assert_allclose(a.joints_mm, b.joints_mm, atol=1e-6)


def test_bad_frames_are_told_and_lose_nothing():
    start = (0.0, 0.0, 500.0)
    predictor = sought(start)
    tracker = Tracker(predictor)
    tracker(frame_with(start), 0.0)
    with pytest.raises(FrameError, match="empty"):  # the camera was unplugged
        tracker(np.zeros((240, 320), np.uint16), RATE)
    with pytest.raises(CameraError, match="320x240"):
        tracker(np.full((480, 640), 500, np.uint16), 2 * RATE)
    with pytest.raises(InputError, match=r"A frame's time must be finite; got nan; expected seconds"):
        tracker(frame_with(start), float("nan"))
    (hand,) = tracker(frame_with(start), 3 * RATE)
    assert predictor.searches == 1 and np.abs(middle(hand) - start).max() < 8
    with pytest.raises(FrameError, match="hand's distance"):  # saturated
        tracker(np.full((240, 320), 65535, np.uint16), 4 * RATE)


def test_what_cannot_be_followed_is_refused():
    predictor = sought((0.0, 0.0, 500.0))
    with pytest.raises(InputError, match="At least one hand must be followed; got 0"):
        Tracker(predictor, most=0)
    for rate in (0.0, -5.0, float("inf")):
        with pytest.raises(InputError, match="The rate must be positive"):
            Tracker(predictor, rate_hz=rate)


def test_a_folder_may_be_a_stream(capsys, tmp_path):
    """Its frames come at the rate, bad ones too, and another folder's are another stream."""
    model, camera = str(tiny_model(tmp_path / "tiny.onnx")), "287,287,160,120"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), hand_frame(z=500 + 5 * number))
    cv2.imwrite(str(tmp_path / "a" / "2.png"), np.zeros((240, 320), np.uint16))
    words = ["predict", str(tmp_path / "a"), str(tmp_path / "b"), "--camera", camera, "--model", model, "--track"]
    main([*words, "--rate", "25", "--no-overlay", "--out", str(tmp_path / "out")])
    assert "8 frames, 7 hands, 1 error" in capsys.readouterr().out
    entries = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text().splitlines()]
    for folder, some in (("a", entries[:4]), ("b", entries[4:])):
        tracker = Tracker(Predictor(model, Pinhole.parse(camera)))
        for number, entry in enumerate(some):
            if "hands" in entry:
                depth = cv2.imread(str(tmp_path / folder / f"{number}.png"), cv2.IMREAD_UNCHANGED)
                found = tracker(depth, number / 25)[0].joints_mm
                np.testing.assert_allclose(found, entry["hands"][0]["joints_mm"], atol=1e-3)
