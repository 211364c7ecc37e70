"""The four public benchmarks: what is measured on which frames, through which camera, in which crop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        frames: how many frames each split has.
        parts: named parts of the test split, from one frame up to another, that papers report apart.
        by_subject: whether its frames' names begin with the subject, which are reported apart.
    """

    name: str
    title: str
    joints: tuple[str, ...]
    camera: Pinhole
    cube_mm: tuple[float, float]
    frames: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    by_subject: bool = False

    @classmethod
    def named(cls, name: str) -> "Benchmark":
        """A benchmark by name; raises InputError with those that there are."""
        if name not in BENCHMARKS:
            raise InputError("Unknown benchmark", got=name, expected=f"one of {', '.join(BENCHMARKS)}")
        return BENCHMARKS[name]


def _public(name: str, **protocol: Any) -> Benchmark:
    return Benchmark(name=name, joints=BENCHMARK_JOINTS[name], camera=PRESETS[name], **protocol)


BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (
        _public(
            "nyu",
            title="NYU",
            cube_mm=(300.0, 300.0),
            frames={"train": 72_757, "test": 8_252},
            # the first subject is that of the training frames, the second has a smaller hand
            parts={"subject 1": (0, 2_440), "subject 2": (2_440, 8_252)},
        ),
        _public(
            "icvl",
            title="ICVL",
            cube_mm=(250.0, 300.0),
            # of 22,067 recorded frames nine have wrong labels
            frames={"train": 22_058, "train-rotated": 331_006, "test": 1_596},
            parts={"sequence 1": (0, 702), "sequence 2": (702, 1_596)},
        ),
        _public("msra", title="MSRA", cube_mm=(250.0, 300.0), frames={"all": 76_375}, by_subject=True),
        _public("hands17", title="HANDS17", cube_mm=(300.0, 300.0), frames={"all": 957_032, "test": 295_510}),
    )
}
