"""Does `dor3d inspect` tell cameras that do not fit from those that do?

    python benchmarks/camera_fit.py [--sets 25]

Renders labelled frames through a benchmark's camera, looks at sets of a few of them with the right camera and with a
focal length that is off by some per cent, and counts the warnings.
"""

import argparse
from dataclasses import replace
from itertools import count

from dor3d.data.sample import Sample
from dor3d.data.synthetic import render_frame
from dor3d.errors import FrameError
from dor3d.evaluate.fit import fit_camera
from dor3d.geometry import PRESETS, Pinhole
from dor3d.skeleton import JOINTS

_CAMERAS = ("nyu", "hands17", "msra")
_SIZES = (3, 5, 20)
_FACTORS = (1.0, 1.03, 1.06, 0.9)


def frames(camera: Pinhole, number: int) -> list[Sample]:
    """Right hands, none of them hidden by its own arm."""
    found: list[Sample] = []
    for i in count(step=2):
        scene, depth = render_frame(camera, 7, i)
        sample = Sample(str(i), depth, camera, JOINTS, scene.joints_mm)
        try:
            sample.check(sample.name)
            found.append(sample)
        except FrameError:
            continue
        if len(found) == number:
            break
    return found


def warnings(samples: list[Sample], size: int, camera: Pinhole) -> int:
    """How many sets of this size get a warning when they are said to come from this camera."""
    sets = [samples[i : i + size] for i in range(0, len(samples) - size + 1, size)]
    fits = [fit_camera([replace(sample, camera=camera) for sample in some]) for some in sets]
    return sum(fit is not None and fit.problem(camera) is not None for fit in fits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=25, help="of each size and camera, the largest size less")
    args = parser.parse_args()
    rendered = {name: frames(PRESETS[name], _SIZES[1] * args.sets) for name in _CAMERAS}
    for size in _SIZES:
        sets = len(_CAMERAS) * min(args.sets, _SIZES[1] * args.sets // size)
        for factor in _FACTORS:
            found = 0
            for name, samples in rendered.items():
                own = PRESETS[name]
                wrong = replace(own, fx=own.fx * factor, fy=own.fy * factor)
                found += warnings(samples[: size * args.sets], size, wrong)
            print(f"{size:3d} frames a set, focal length x {factor:.2f}: warned of {found} of {sets} sets", flush=True)


if __name__ == "__main__":
    main()
