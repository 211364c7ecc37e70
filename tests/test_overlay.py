"""Pictures: skeletons over depth frames, and the demo's page."""

import re

import cv2
import numpy as np
import pytest
from tiny_onnx import hand_frame

from dor3d.skeleton import JOINTS
from dor3d.viz.overlay import FINGER_COLOURS, WRIST_COLOUR, close_up, draw_hands, grey_depth, png
from dor3d.viz.page import PageFrame, PageNumbers, demo_page

UV = np.stack([np.linspace(200, 440, 21), 240 + 60 * np.sin(np.arange(21.0))], -1)
BLACK = np.zeros((480, 640), np.float32)


def test_grey_is_lighter_the_nearer_and_black_without_a_reading():
    grey = grey_depth(np.array([[0.0, 400.0, 500.0, 600.0, 2000.0]]), 500.0)[0]
    assert grey[0] == 0
    assert list(grey[1:]) == sorted(grey[1:], reverse=True)
    assert len(set(grey.tolist())) == 5
    assert not grey_depth(np.zeros((4, 4))).any()
    assert (grey_depth(np.full((4, 4), 500.0)) > 0).all()


def test_joints_are_drawn_where_they_are_in_their_fingers_colours():
    picture = draw_hands(BLACK, [UV])
    assert picture.shape == (480, 640, 3)
    for joint, colour in ((0, WRIST_COLOUR), (4, FINGER_COLOURS["thumb"]), (20, FINGER_COLOURS["little"])):
        u, v = np.round(UV[joint]).astype(int)
        assert tuple(picture[v, u]) == colour


def test_bones_run_between_joints():
    picture = draw_hands(BLACK, [UV])
    u, v = np.round((UV[18] + UV[19]) / 2).astype(int)
    assert tuple(picture[v, u]) == FINGER_COLOURS["little"]


def test_small_frames_are_enlarged_and_joints_stay_on_their_pixels():
    picture = draw_hands(np.zeros((120, 160), np.float32), [np.array([[80.0, 60.0]])], ("wrist",))
    assert picture.shape == (360, 480, 3)
    rows, columns = np.nonzero(picture[..., 0])
    assert abs(rows.mean() - (60.5 * 3 - 0.5)) < 0.6
    assert abs(columns.mean() - (80.5 * 3 - 0.5)) < 0.6


def test_other_joints_are_dots():
    picture = draw_hands(BLACK, [np.array([[100.0, 100.0], [300.0, 200.0]])], ("palm", "somewhere"))
    assert picture[100, 100].any()
    assert not picture[150, 200].any()


@pytest.mark.parametrize("uv", [UV * 0 + 1e9, UV - 5000, np.full((21, 2), np.nan), UV * 0])
def test_joints_anywhere_do_no_harm(uv):
    draw_hands(BLACK, [uv, UV])


@pytest.mark.parametrize("shift", [(0, 0), (-230, -200), (250, 230), (2000, 0)])
def test_a_close_up_holds_the_hand(shift):
    depth = np.full((480, 640), 500.0, np.float32)
    picture = close_up(depth, UV + shift, around_mm=500.0)
    assert picture.shape[0] == picture.shape[1] >= 480
    if shift == (0, 0):
        assert sum((picture == colour).all(-1).any() for colour in FINGER_COLOURS.values()) == 5


def test_png_keeps_the_colours():
    picture = draw_hands(hand_frame().astype(np.float32), [])
    back = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(back[..., ::-1], picture)


def test_the_page_needs_nothing_but_itself():
    picture = png(draw_hands(BLACK, [UV]))
    frames = [
        PageFrame("frame_00", picture, picture, 4 / 3, 8.25, "right", 6.0),
        PageFrame("<b>", picture, b"", 4 / 3, None, "none", float("nan")),
    ]
    page = demo_page(frames, PageNumbers("compact", 123.4, 456.7))
    assert page.startswith("<!doctype html>")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "8.2 mm" in page
    assert "no hand" in page
    assert "123 /s" in page
    assert "<b></td>" not in page
    assert "nan" not in page
    assert page.count("data:image/png;base64,") == 3
    assert all(name in page for name in FINGER_COLOURS)
    assert len(JOINTS) == 21
