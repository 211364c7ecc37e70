"""Windows in shards: what is read is what was cut, crops are those of the whole frame, damage is told."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import lance
import numpy as np
import pytest
import torch
import write_sets
from numpy import ndarray

from dor3d.data.augment import STRONG, Augmentation, change_box, change_image, generator
from dor3d.data.cache import Cache
from dor3d.data.cached import CachedHands
from dor3d.data.caching import write_cache
from dor3d.data.centers import open_centers
from dor3d.data.sample import DepthSet
from dor3d.data.sets import open_set
from dor3d.data.synthetic import render_set
from dor3d.data.window import Room, cut_window
from dor3d.errors import FrameError, InputError
from dor3d.geometry import CropBox

CUBE = (300.0, 300.0)
COUNT = 8
_SPLITS = {"nyu": "test", "msra": "all", "folder": "all"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DepthSet]:
    """Whole millimetres, fractions of them in patches, and left hands in a camera's own unit."""
    root = tmp_path_factory.mktemp("sets")
    for name in ("nyu", "msra"):
        write_sets.write(name, root / name, write_sets.render(name, COUNT, seed=4))
    render_set(COUNT, "sr305", 5, root / "folder")
    return {name: open_set(name, root / name, split) for name, split in _SPLITS.items()}


@pytest.fixture(scope="module")
def caches(sets: dict[str, DepthSet], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cache]:
    root = tmp_path_factory.mktemp("caches")
    return {name: make(frames, root / name) for name, frames in sets.items()}


def make(frames: DepthSet, place: Path, **options: int) -> Cache:
    return write_cache(frames, open_centers("truth", frames), place, cube_mm=CUBE, room=STRONG.room, **options)


def usable(frames: DepthSet) -> list[int]:
    """Frames that a cache takes; the arm hides a rendered hand now and then."""
    found = []
    for index in range(len(frames)):
        try:
            sample = frames[index]
            cut_window(sample, sample.center_mm, CUBE, STRONG.room)  # pyright: ignore[reportArgumentType]
            found.append(index)
        except FrameError:
            continue
    return found


@pytest.mark.parametrize("name", _SPLITS)
def test_windows_come_back_as_they_were_cut(name: str, sets: dict[str, DepthSet], caches: dict[str, Cache]) -> None:
    frames, cache = sets[name], caches[name]
    rows = usable(frames)
    assert len(cache) == len(rows) and len(cache.info.skipped) == len(frames) - len(rows)
    order = list(range(len(cache)))[::-1]
    windows = cache.read(order)
    for place, row in enumerate(order):
        sample, window = frames[rows[row]], windows.window(place)
        assert sample.center_mm is not None
        cut = cut_window(sample, sample.center_mm, CUBE, STRONG.room)
        assert np.array_equal(window.counts, cut.counts) and (window.left, window.top) == (cut.left, cut.top)
        assert np.array_equal(window.center_mm, cut.center_mm) and window.mirrored == sample.left
        assert np.abs(window.joints_mm - cut.joints_mm).max() < 1e-4
        assert window.unit_mm == 1.0 or name != "nyu"


def single(frames: DepthSet, row: int, size: int, how: Augmentation, seed: int, epoch: int, index: int) -> tuple:
    """A crop from the whole frame by itself, and its points."""
    sample, rng = frames[row], generator(seed, epoch, index)
    assert sample.center_mm is not None and sample.joints_mm is not None
    x, y, z = sample.center_mm.tolist()
    box = change_box(CropBox(sample.camera, (x, y, z), CUBE, size, mirrored=sample.left), how, rng, sample.joints_mm)
    return change_image(box.image(sample.depth_mm), how, rng), box.to_crop(sample.joints_mm)


@pytest.mark.parametrize("how", [Augmentation(), STRONG, Augmentation(rotation_deg=40.0)], ids=["none", "all", "turn"])
@pytest.mark.parametrize("name", _SPLITS)
def test_batches_equal_single_crops(
    name: str, how: Augmentation, sets: dict[str, DepthSet], caches: dict[str, Cache]
) -> None:
    frames, cache, rows = sets[name], caches[name], usable(sets[name])
    source = CachedHands(cache, 96, CUBE, how, 3)
    for epoch in range(3):
        batch = source.batch(epoch, range(len(cache))).on(torch.device("cpu"))
        for index, row in enumerate(rows):
            image, points = single(frames, row, 96, how, 3, epoch, index)
            ours = batch.crop[index, 0].numpy()
            if name == "msra":  # its fractions of a millimetre are cut to eighths
                assert np.abs(ours - image).max() <= 0.0626 * 2 / CUBE[1] + 1e-6
            else:
                assert np.array_equal(ours, image)
            assert np.abs(batch.points[index].numpy() - points).max() < 1e-3
        packed = source.batch(epoch, range(len(cache)))
        assert torch.equal(packed.gathered(), packed.crops())  # what a GPU does


def test_a_sample_depends_on_seed_epoch_and_number_alone(caches: dict[str, Cache]) -> None:
    source = CachedHands(caches["nyu"], 64, CUBE, STRONG, 0)
    whole, part = source.batch(1, [0, 1, 2, 3]), source.batch(1, [3, 1])
    here = torch.device("cpu")
    assert torch.equal(whole.on(here).crop[[3, 1]], part.on(here).crop)
    assert not torch.equal(source.batch(2, [3]).on(here).crop, part.on(here).crop[:1])
    other = CachedHands(caches["nyu"], 64, CUBE, STRONG, 1)
    assert not torch.equal(other.batch(1, [3]).on(here).crop, part.on(here).crop[:1])


def test_some_windows_and_some_joints(caches: dict[str, Cache]) -> None:
    cache = caches["nyu"]
    names = ("index_tip", "palm")
    some = CachedHands(cache, 64, CUBE, Augmentation(), 0, names=names, indices=[2, 5])
    every = CachedHands(cache, 64, CUBE, Augmentation(), 0)
    columns = [cache.info.joints.index(name) for name in names]
    assert some.length == 2
    assert torch.equal(some.batch(0, [1]).points, every.batch(0, [5]).points[:, columns])
    with pytest.raises(InputError, match="has no joint nose"):
        CachedHands(cache, 64, CUBE, Augmentation(), 0, names=("nose",))


def test_several_processes_cut_the_same(sets: dict[str, DepthSet], caches: dict[str, Cache], tmp_path: Path) -> None:
    cache = make(sets["nyu"], tmp_path / "two", workers=2)
    every = list(range(len(cache)))
    one, two = caches["nyu"].read(every), cache.read(every)
    assert np.array_equal(one.counts, two.counts) and np.array_equal(one.boxes, two.boxes)
    assert cache.info == caches["nyu"].info


def test_a_url_is_read_like_a_folder(caches: dict[str, Cache]) -> None:
    cache = Cache(f"file://{caches['nyu'].url}")
    assert len(cache) == len(caches["nyu"])
    assert np.array_equal(cache.read([1]).counts, caches["nyu"].read([1]).counts)


def test_a_cache_is_handed_to_another_process_unopened(caches: dict[str, Cache]) -> None:
    cache = caches["nyu"]
    cache.read([0])
    assert cache.__getstate__()["_opened"] is None


def test_a_window_without_room_is_refused(sets: dict[str, DepthSet], tmp_path: Path) -> None:
    frames = sets["nyu"]
    cache = write_cache(frames, open_centers("truth", frames), tmp_path / "tight", cube_mm=CUBE, room=Room())
    CachedHands(cache, 64, CUBE, Augmentation(), 0)
    for cube, how in ((CUBE, Augmentation(rotation_deg=1.0)), ((310.0, 300.0), Augmentation())):
        with pytest.raises(InputError, match=r"windows of .*tight are too small; got .*; expected .*Delete the cache"):
            CachedHands(cache, 64, cube, how, 0)


# ---- bad input -----------------------------------------------------------------------------------------------------
class Broken(DepthSet):
    """A set whose frames are broken where asked."""

    def __init__(self, frames: DepthSet, bad: Sequence[int], repeat: int) -> None:
        self.frames, self.bad, self.repeat = frames, set(bad), repeat
        self.name, self.split, self.root = frames.name, frames.split, frames.root
        self.camera, self.joints = frames.camera, frames.joints

    def __len__(self) -> int:
        return len(self.frames) * self.repeat

    def frame_name(self, index: int) -> str:
        return self.frames.frame_name(index % len(self.frames))

    def joints_mm(self, index: int) -> ndarray | None:
        return self.frames.joints_mm(index % len(self.frames))

    def label_place(self, index: int) -> str:
        return self.frames.label_place(index % len(self.frames))

    def depth_mm(self, index: int) -> ndarray:
        if index in self.bad:
            raise FrameError(f"frame {index} is broken")
        return self.frames.depth_mm(index % len(self.frames))


def test_bad_frames_are_left_out_and_listed(sets: dict[str, DepthSet], tmp_path: Path) -> None:
    frames = Broken(sets["nyu"], range(5, 8), 2)
    cache = make(frames, tmp_path / "some")
    assert len(cache) == 2 * COUNT - 3 and cache.info.skipped[0] == "frame 5 is broken"


def test_too_many_bad_frames_stop_and_leave_nothing(sets: dict[str, DepthSet], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Too many frames of nyu cannot be used; got 11 of 16"):
        make(Broken(sets["nyu"], range(11), 2), tmp_path / "most")
    assert not list(tmp_path.iterdir())


def test_places_that_are_no_cache(sets: dict[str, DepthSet], caches: dict[str, Cache], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no cache of windows"):
        Cache(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="There is a cache at"):
        make(sets["nyu"], Path(caches["nyu"].url))
    with pytest.raises(InputError, match="cannot be written"):
        make(sets["nyu"], tmp_path / "file" / "cache")
    import pyarrow as pa

    lance.write_dataset(pa.table({"x": [1]}), str(tmp_path / "foreign"))
    with pytest.raises(InputError, match="foreign is no cache of windows"):
        Cache(tmp_path / "foreign")


def test_flipped_bytes_never_become_other_depths(caches: dict[str, Cache], tmp_path: Path) -> None:
    """A wrong byte anywhere in the shards is told, or touches no number."""
    rng = np.random.default_rng(0)
    every = list(range(len(caches["nyu"])))
    whole = caches["nyu"].read(every)
    told = 0
    for _ in range(30):
        shutil.copytree(caches["nyu"].url, tmp_path / "cache")
        (shard,) = (tmp_path / "cache" / "data").iterdir()
        data = bytearray(shard.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        shard.write_bytes(data)
        try:
            assert np.array_equal(Cache(tmp_path / "cache").read(every).counts, whole.counts)
        except InputError as error:
            told += "\n" not in str(error)
        finally:
            shutil.rmtree(tmp_path / "cache")
    assert told > 15
