"""From a recipe's `data` entry to the samples that a run learns from and is measured on."""

import dataclasses
import difflib
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints

from dor3d.data.augment import Augmentation
from dor3d.data.batch import Source
from dor3d.data.cache import Cache
from dor3d.data.cached import CachedHands
from dor3d.data.caching import write_cache
from dor3d.data.centers import open_centers
from dor3d.data.rooms import Rooms
from dor3d.data.sample import DepthSet
from dor3d.data.sets import SETS, open_set
from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.data.testsets import HARD_VALIDATION_SEED, VALIDATION_SEED, clear_config, hard_config
from dor3d.errors import InputError
from dor3d.fields import convert
from dor3d.hand.room import RoomConfig
from dor3d.hand.stage import WIDE, SceneConfig

_PATIENCE_S: Final = 6 * 3600.0  # how long a process waits for the one that makes the cache
_POLL_S: Final = 1.0
_SCENES: Final = {"plain": SceneConfig(), "wide": WIDE}
Say = Callable[[str], None]


class CropShape(NamedTuple):
    """The network's input: side in pixels, the cube's sides (mm), and the joints that it learns."""

    size: int
    cube_mm: tuple[float, float]
    joints: Sequence[str]


@dataclasses.dataclass(frozen=True)
class SetOptions:
    """Which frames of a set, and how their crops are made.

    Attributes:
        root: the folder that the set's download was unpacked into.
        split: which part is learnt; the set's default for an empty one.
        centers: where crops are centred: truth, mass, box, or a file of centres.
        cache: folder or URL of the windows; empty: one below ~/.cache/dor3d, named by what is in it.
        held_out: share of the frames, the last ones, that is measured on and not learnt.
        readers: processes that fill the cache.
    """

    root: str = ""
    split: str = ""
    centers: str = "truth"
    cache: str = ""
    held_out: float = 0.02
    readers: int = 2


def open_sources(
    data: Mapping[str, Any], shape: CropShape, seed: int, say: Say = print
) -> tuple[Source, Source | None]:
    """What a run learns from, and held-out samples.

    Args:
        data: `kind`: "synthetic", with any field of SyntheticConfig or SceneConfig, such as `body`, and `scenes`, whose
            fields the others are: "plain" or "wide"; or a set's name, with any field of SetOptions or Augmentation; or
            "rooms", whole frames with any field of RoomConfig or SceneConfig.
        shape: the network's input.
        seed: of the stream, or of how crops are changed.
        say: told when a cache is made.

    Raises InputError for an unknown kind or field, or a set that cannot be read.
    """
    options = dict(data)
    kind = options.pop("kind", "synthetic")
    if kind == "synthetic":
        return _synthetic(options, shape, seed)
    if kind == "rooms":
        return _rooms(options, seed)
    if kind not in SETS:
        raise InputError("Unknown kind of training data", got=kind, expected=f"synthetic, rooms, {', '.join(SETS)}")
    own, how = SetOptions(**_take(options, SetOptions)), Augmentation(**_take(options, Augmentation))
    _check_rest(options, kind, SetOptions, Augmentation)
    return _of_set(kind, own, how, shape, seed, say)


def _synthetic(options: dict[str, Any], shape: CropShape, seed: int) -> tuple[Source, Source]:
    """The stream, and samples drawn as `clear` of its hand version is, or `hard` for wide scenes; they share none."""
    scenes = options.pop("scenes", "plain")
    if scenes not in _SCENES:
        raise InputError("Unknown scenes", got=scenes, expected=" or ".join(_SCENES))
    config = SyntheticConfig(
        scene=dataclasses.replace(_SCENES[scenes], **_take(options, SceneConfig)),
        size=shape.size,
        cube_mm=shape.cube_mm,
        **_take(options, SyntheticConfig),
    )
    _check_rest(options, "synthetic", SceneConfig, SyntheticConfig)
    drawn = (shape.size, shape.cube_mm, config.scene.hand)
    if scenes == "wide":
        held_out = dataclasses.replace(hard_config(*drawn), upright=config.upright)
        return SyntheticHands(config, seed), SyntheticHands(held_out, HARD_VALIDATION_SEED)
    return SyntheticHands(config, seed), SyntheticHands(clear_config(*drawn), VALIDATION_SEED)


def _rooms(options: dict[str, Any], seed: int) -> tuple[Source, Source]:
    """The stream, and rooms that are drawn alike but share none with it."""
    scene = dataclasses.replace(RoomConfig().scene, **_take(options, SceneConfig))
    config = RoomConfig(scene=scene, **_take(options, RoomConfig))
    _check_rest(options, "rooms", SceneConfig, RoomConfig)
    return Rooms(config, seed), Rooms(config, VALIDATION_SEED)


def _of_set(
    name: str, own: SetOptions, how: Augmentation, shape: CropShape, seed: int, say: Say
) -> tuple[Source, Source | None]:
    if not 0 <= own.held_out < 1:
        raise InputError("held_out must lie in [0, 1)", got=own.held_out)
    cache = _open_cache(name, own, how, shape, say)
    total = len(cache)
    # the last frames and not some at random: neighbours in a recording are nearly equal
    held_out = round(own.held_out * total)
    parts = {"names": shape.joints, "size": shape.size, "cube_mm": shape.cube_mm, "seed": seed}
    learnt = CachedHands(cache, how=how, indices=range(total - held_out), **parts)
    if not held_out:
        return learnt, None
    return learnt, CachedHands(cache, how=Augmentation(), indices=range(total - held_out, total), **parts)


def _open_cache(name: str, own: SetOptions, how: Augmentation, shape: CropShape, say: Say) -> Cache:
    if own.cache and ("://" in own.cache or Path(own.cache).exists()):
        return _checked(Cache(own.cache), name, own.split)
    if not own.root:
        raise InputError(f"It is not said where {name} lies", fix="Name its folder (--root) or a cache (--cache).")
    frames = open_set(name, Path(own.root), own.split or None)
    place = own.cache or str(_default_place(frames, own, how, shape))
    if Path(place).exists():
        return Cache(place)
    if int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))):
        return _wait_for(Path(place))
    centers = open_centers(own.centers, frames)
    say(f"cutting {len(frames):,} windows of {name} into {place}, once")
    cube, room = shape.cube_mm, how.room
    return write_cache(frames, centers, place, cube_mm=cube, room=room, workers=own.readers, say=_every_tenth(say))


def _checked(cache: Cache, name: str, split: str) -> Cache:
    """A cache that was named; raises InputError when it is of another set."""
    info = cache.info
    if info.dataset != name or (split and info.split != split):
        raise InputError(
            f"The cache {cache.url} is of another set",
            got=f"{info.dataset}, split {info.split}",
            expected=f"{name}, split {split}" if split else name,
            fix="Name another place; it will be made there.",
        )
    return cache


def _every_tenth(say: Say) -> Callable[[int, int], None]:
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if 10 * done // total > told:
            told = 10 * done // total
            say(f"{done:,} of {total:,} windows")

    return progress


def _default_place(frames: DepthSet, own: SetOptions, how: Augmentation, shape: CropShape) -> Path:
    """Named by what is in it, and when that changed: frames that were added make another cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = frames.root.resolve()
    changed = [path.stat().st_mtime_ns for path in (root, *sorted(root.glob("*.json")))]
    about = (str(root), frames.split, len(frames), changed, own.centers, shape.cube_mm, dataclasses.astuple(how.room))
    key = hashlib.blake2b(repr(about).encode(), digest_size=6).hexdigest()
    return home / "dor3d" / f"{frames.name}-{frames.split}-{key}"


def _wait_for(place: Path) -> Cache:
    """The cache that another process of this machine is making."""
    end = time.monotonic() + _PATIENCE_S
    while not place.exists():
        if time.monotonic() > end:
            raise InputError(f"Nobody made the cache {place}", got=f"{_PATIENCE_S / 3600:.0f} hours of waiting")
        time.sleep(_POLL_S)
    return Cache(place)


def _take(options: dict[str, Any], kind: type) -> dict[str, Any]:
    """Remove and return the options that are fields of this dataclass, as its types; raises InputError for others."""
    types = get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)} - {"scene", "size", "cube_mm"}
    return {name: convert(name, options.pop(name), types[name]) for name in list(options) if name in names}


def _check_rest(options: Mapping[str, Any], kind: str, *known: type) -> None:
    if options:
        name = next(iter(options))
        names = [f.name for some in known for f in dataclasses.fields(some)]
        close = difflib.get_close_matches(name, names, n=3)
        raise InputError(f"Unknown key of the {kind} data", got=name, expected=f"one of {', '.join(close or names)}")
