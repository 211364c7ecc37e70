"""The four public benchmarks: what is measured on which frames, through which camera, in which crop."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final

from dor3d.errors import InputError
from dor3d.geometry import PRESETS, Pinhole
from dor3d.skeleton import BENCHMARK_JOINTS


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's protocol.

    Attributes:
        name: as on the command line.
        title: as in tables.
        joints: names of the joints that are scored, in the order of its prediction files.
        camera: whose pixels its files are in.
        cube_mm: full side of the crop's cube in the image plane and in depth. An ordinal decode cannot leave the crop,
            so it holds the whole hand (docs/paper.md).
        frames: how many frames each split has; several numbers where versions of the set go round.
        parts: named parts of the scored frames, from one up to another, that papers report apart.
        part_of: the part that a frame belongs to by its name, or None.
    """

    name: str
    title: str
    joints: tuple[str, ...]
    camera: Pinhole
    cube_mm: tuple[float, float]
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    part_of: Callable[[str], str | None] = lambda name: None

    @classmethod
    def named(cls, name: str) -> "Benchmark":
        """A benchmark by name; raises InputError with those that there are."""
        if name not in BENCHMARKS:
            raise InputError("Unknown benchmark", got=name, expected=f"one of {', '.join(BENCHMARKS)}")
        return BENCHMARKS[name]

    def is_whole(self, count: int) -> bool:
        """Whether so many frames are a whole split of it; true where nothing is known of its splits."""
        return not self.frames or any(count in counts for counts in self.frames.values())


def _nyu_part(name: str) -> str | None:
    """The first subject is that of the training frames, the second has a smaller hand."""
    number = re.search(r"(?<!train/)depth_1_(\d+)", name)
    return None if number is None else f"subject {1 if int(number[1]) <= _NYU_FIRST else 2}"


def _icvl_part(name: str) -> str | None:
    number = re.search(r"test_seq_(\d)", name)
    return None if number is None else f"sequence {number[1]}"


def _msra_part(name: str) -> str | None:
    subject = re.match(r"(P\d)/", name)
    return None if subject is None else subject[1]


_NYU_FIRST: Final = 2_440  # test frames of the first subject
_MSRA_FRAMES: Final = (8499, 8492, 8412, 8488, 8500, 8497, 8497, 8498, 8492)  # of each subject, in the usual version
_MSRA_PARTS: Final = dict(zip((f"P{n}" for n in range(9)), pairwise(accumulate((0, *_MSRA_FRAMES))), strict=True))


def _public(name: str, **protocol: Any) -> Benchmark:
    return Benchmark(name=name, joints=BENCHMARK_JOINTS[name], camera=PRESETS[name], **protocol)


BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        _public(
            "nyu",
            title="NYU",
            cube_mm=(300.0, 300.0),
            frames={"train": (72_757,), "test": (8_252,)},
            parts={"subject 1": (0, _NYU_FIRST), "subject 2": (_NYU_FIRST, 8_252)},
            part_of=_nyu_part,
        ),
        _public(
            "icvl",
            title="ICVL",
            cube_mm=(250.0, 300.0),
            # of 22,067 recorded frames nine have wrong labels
            frames={"train": (22_058,), "train-rotated": (331_006,), "test": (1_596,)},
            parts={"sequence 1": (0, 702), "sequence 2": (702, 1_596)},
            part_of=_icvl_part,
        ),
        _public(
            "msra",
            title="MSRA",
            cube_mm=(250.0, 300.0),
            frames={"all": (sum(_MSRA_FRAMES), 76_391)},
            parts=_MSRA_PARTS,
            part_of=_msra_part,
        ),
        _public(
            "hands17",
            title="HANDS17",
            cube_mm=(300.0, 300.0),
            frames={"all": (957_032,), "train": (909_181,), "held-out": (47_851,), "test": (295_510,)},
        ),
    )
}
