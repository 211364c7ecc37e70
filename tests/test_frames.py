"""Reading depth frames, and every way in which one can be bad."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from dor3d.errors import CameraError, Dor3dError, FrameError, InputError
from dor3d.frames import check_frame, in_mm, natural_key, point_in_frame, read_frames
from dor3d.geometry import Pinhole

CAMERA = Pinhole(60.0, 60.0, 31.5, 23.5)
DEPTH = np.full((48, 64), 700, np.uint16)


def png(path: Path, image: np.ndarray = DEPTH) -> Path:
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path


def error_of(path: Path) -> str:
    frames = list(read_frames([path]))
    assert len(frames) == 1
    assert isinstance(frames[0].depth, Dor3dError)
    text = str(frames[0].depth)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_images_come_back_as_they_were(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 65536, (48, 64)).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    (frame,) = read_frames([path])
    assert (frame.name, frame.index, frame.many) == (str(path), 0, False)
    np.testing.assert_array_equal(frame.depth, image)


def test_float_tiff_is_float(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(cv2.imencode(".tif", DEPTH.astype(np.float32))[1].tobytes())
    (frame,) = read_frames([path])
    assert frame.depth.dtype == np.float32


def test_npy_is_one_frame_or_a_stack(tmp_path):
    np.save(tmp_path / "one.npy", DEPTH)
    np.save(tmp_path / "stack.npy", np.stack([DEPTH, DEPTH + 1, DEPTH + 2]))
    (one,) = read_frames([tmp_path / "one.npy"])
    stack = list(read_frames([tmp_path / "stack.npy"]))
    np.testing.assert_array_equal(one.depth, DEPTH)
    assert [frame.index for frame in stack] == [0, 1, 2]
    assert [int(frame.depth[0, 0]) for frame in stack] == [700, 701, 702]


def test_npz_gives_every_array_of_frames(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, b=np.stack([DEPTH, DEPTH]), a=DEPTH + 5, joints=np.zeros((2, 21, 3)), camera=np.array("{}"))
    frames = list(read_frames([path]))
    assert [(frame.index, int(frame.depth[0, 0])) for frame in frames] == [(0, 705), (1, 700), (2, 700)]


def test_npz_with_depth_gives_only_that(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, depth=np.stack([DEPTH, DEPTH]), mask=np.ones((48, 64), np.uint16))
    assert len(list(read_frames([path]))) == 2


def test_folder_is_sorted_as_people_count(tmp_path):
    for name in ("10.png", "9.png", "1.png", ".hidden.png", "notes.txt"):
        png(tmp_path / name)
    assert [Path(frame.name).name for frame in read_frames([tmp_path])] == ["1.png", "9.png", "10.png"]


def test_frames_are_read_one_at_a_time(tmp_path):
    frames = read_frames([png(tmp_path / "a.png"), tmp_path / "gone.png"])
    next(frames)
    png(tmp_path / "gone.png")
    assert isinstance(next(frames).depth, np.ndarray)


def test_natural_key():
    assert sorted(["a10", "a9", "b1", "a"], key=natural_key) == ["a", "a9", "a10", "b1"]


def test_missing_empty_and_unknown_files(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "folder").mkdir()
    assert "No such file" in error_of(tmp_path / "missing.png")
    assert "is empty" in error_of(tmp_path / "empty.png")
    assert "unknown format" in error_of(tmp_path / "photo.jpg")
    assert "No depth frames in folder" in error_of(tmp_path / "folder")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".npz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_files(tmp_path, suffix, share):
    image = np.random.default_rng(0).integers(400, 900, (48, 64)).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, image)
    elif suffix == ".npz":
        np.savez_compressed(path, depth=image)
    else:
        path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    data = path.read_bytes()
    path.write_bytes(data[: max(1, int(len(data) * share))])
    assert "a" + suffix in error_of(path)


def test_damaged_png(tmp_path):
    image = np.random.default_rng(0).integers(400, 900, (48, 64)).astype(np.uint16)
    path = png(tmp_path / "a.png", image)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    assert "damaged" in error_of(path)


def test_text_that_is_called_png(tmp_path):
    (tmp_path / "a.png").write_text("version https://git-lfs")
    assert "no PNG" in error_of(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((48, 64), 7, np.uint8), "too few bits"),
        (np.full((48, 64, 3), 7, np.uint8), "colour image"),
        (np.full((48, 64, 3), 7, np.uint16), "colour image"),
        (np.full((48, 64, 4), 7, np.uint8), "colour image"),
    ],
)
def test_8_bit_and_colour_images(tmp_path, image, words):
    assert words in error_of(png(tmp_path / "a.png", image))
    np.save(tmp_path / "a.npy", image)
    (frame,) = read_frames([tmp_path / "a.npy"])
    with pytest.raises(FrameError, match=words):
        if isinstance(frame.depth, Dor3dError):
            raise frame.depth
        check_frame(frame.depth, CAMERA)


def test_8_bit_and_colour_tiff(tmp_path):
    for name, image in (("grey", np.full((48, 64), 7, np.uint8)), ("rgb", np.full((48, 64, 3), 7, np.uint8))):
        path = tmp_path / f"{name}.tif"
        path.write_bytes(cv2.imencode(".tif", image)[1].tobytes())
        (frame,) = read_frames([path])
        with pytest.raises(FrameError):
            check_frame(frame.depth, CAMERA)


def test_huge_png_header_is_refused(tmp_path):
    path = png(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 1 << 30, 1 << 30)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    assert "too large for a depth frame" in error_of(path)
    path.write_bytes(bytes(data[:8]) + struct.pack(">I4sI", 0, b"IHDR", zlib.crc32(b"IHDR")))
    assert "a header of 0 bytes" in error_of(path)


def test_objects_never_unpickle(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", depth=np.array([{}], object))
    assert "broken" in error_of(tmp_path / "a.npy")
    assert "broken" in error_of(tmp_path / "a.npz")


def test_arrays_that_hold_no_frames(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5))
    np.savez(tmp_path / "b.npz", joints=np.zeros((4, 21, 3)))
    assert "no depth frames" in error_of(tmp_path / "a.npy")
    assert "no depth frames" in error_of(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (np.zeros((48, 64), np.uint16), "frame is empty"),
        (np.zeros((48, 64), np.float32), "frame is empty"),
        (np.full((48, 64), np.nan, np.float32), "not finite"),
        (np.where(np.eye(48, 64) > 0, np.nan, 500.0), "not finite"),
        (np.where(np.eye(48, 64) > 0, np.inf, 500.0), "not finite"),
        (np.full((48, 64), -500, np.int16), "negative"),
        (np.full((8, 8), 500, np.uint16), "too small"),
        (np.full((48,), 500, np.uint16), "wrong shape"),
        (np.ones((48, 64), bool), "no depths"),
        (np.ones((48, 64), np.uint8), "too few bits"),
        (np.ones((48, 64, 3), np.uint16), "colour image"),
    ],
)
def test_frames_that_are_no_depth_frames(depth, words):
    with pytest.raises(FrameError, match=words):
        check_frame(depth, CAMERA)


@pytest.mark.parametrize("depth", [np.full((48, 64), 30.0), np.full((48, 64), 30000.0), np.full((48, 64), 0.6)])
def test_wrong_units(depth):
    with pytest.raises(FrameError, match="not at a hand's distance"):
        check_frame(depth, CAMERA)


def test_wrong_unit_names_the_likely_one():
    with pytest.raises(FrameError, match=r"units of 0\.125 mm: use --depth-unit-mm 0\.125"):
        check_frame(np.full((48, 64), 5600, np.uint16), CAMERA)
    with pytest.raises(FrameError, match=r"units of 1000 mm"):
        check_frame(np.full((48, 64), 0.6), CAMERA)


def test_a_few_specks_do_not_make_a_wrong_unit():
    depth = DEPTH.copy()
    depth[0, :4] = 3
    assert check_frame(depth, CAMERA) == 700


def test_a_frame_with_little_in_it_is_still_a_frame():
    depth = np.zeros((480, 640), np.uint16)
    depth[3, 5] = 500  # off the grid of pixels that is looked at
    assert check_frame(depth, Pinhole(500.0, 500.0, 320.0, 240.0)) == 500


def test_camera_of_another_size():
    with pytest.raises(CameraError, match="64x48"):
        check_frame(DEPTH, Pinhole.preset("d435"))


def test_units():
    camera = Pinhole(60.0, 60.0, 31.5, 23.5, depth_unit_mm=0.125)
    assert in_mm(DEPTH, camera)[0, 0] == np.float32(87.5)
    assert in_mm(DEPTH.astype(np.float64), camera)[0, 0] == 700
    assert check_frame(DEPTH, camera) == 87.5


@pytest.mark.parametrize("center", [(900.0, 0.0, 500.0), (0.0, 0.0, -5.0), (0.0, 0.0, 0.0), (float("nan"), 0.0, 500.0)])
def test_centres_off_the_image(center):
    with pytest.raises(InputError, match="centre"):
        point_in_frame(center, CAMERA, DEPTH.shape)
