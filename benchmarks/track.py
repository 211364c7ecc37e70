"""A hand that rests and one that moves before a rendered camera: how much joints tremble, how late they are, how fast.

    python benchmarks/track.py [--model NAME|FILE] [--camera NAME] [--scenes N] [--threads N]

A scene is rendered again for each frame at 30 frames a second, with noise of its own. Jitter is the root mean square
distance of each joint from its mean over three seconds; lag is the delay of the true joints that fits best what is said
of them, in frames. Both as the network says it and as the tracker gives it.
"""

import argparse
import time

import numpy as np

from dor3d.data.synthetic import generator
from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.scene import Scene, image_size, read_sensor
from dor3d.hand.stage import SceneConfig, draw_scene
from dor3d.predict import Predictor, Tracker

_RATE = 30.0
_FRAMES = 90
_SETTLED = 20  # frames that are not judged
_REACH_MM, _HZ = 90.0, 0.8  # of the movement: up to 450 mm/s
_SEED = 77


class Scenes:
    """Scenes without end, before one camera, whose hand stays in the image wherever it moves."""

    def __init__(self, camera: str) -> None:
        self.camera, self.index = Pinhole.preset(camera), 0
        self.config = SceneConfig(cameras=(camera,), distance_mm=(350.0, 700.0))

    def __iter__(self) -> "Scenes":
        return self

    def __next__(self) -> Scene:
        width, height = self.camera.width or 640, self.camera.height or 480
        while True:
            scene = draw_scene(generator(_SEED, self.index), self.config, self.camera)
            self.index += 1
            u, v = self.camera.project(center_of_joints(scene.joints_mm)) / (width, height)
            if 0.3 < u < 0.7 and 0.33 < v < 0.67:
                return scene


def moved(scene: Scene, by: np.ndarray) -> Scene:
    spheres = scene.spheres.copy()
    spheres[:, :3] += by
    return scene._replace(joints_mm=scene.joints_mm + by, spheres=spheres)


def stream(scene: Scene, moves: bool, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames and true joints."""
    width, height = image_size(scene.camera)
    frames, joints = [], []
    for i in range(_FRAMES):
        phase = 2 * np.pi * _HZ * i / _RATE
        by = _REACH_MM * np.array([np.sin(phase), 0.4 * np.sin(2 * phase), 0.4 * np.cos(phase)]) * moves
        now = moved(scene, by)
        frames.append(read_sensor(now, np.arange(width), np.arange(height), generator(seed, i)).astype(np.float32))
        joints.append(now.joints_mm)
    return frames, np.array(joints)


def follow(predictor: Predictor, frames: list[np.ndarray], steady: bool) -> tuple[np.ndarray, float]:
    """Joints of each frame (nan where no hand was seen), and seconds a frame."""
    tracker, said, took = Tracker(predictor, steady=steady), [], []
    for i, frame in enumerate(frames):
        start = time.perf_counter()
        hands = tracker(frame, i / _RATE)
        took.append(time.perf_counter() - start)
        said.append(hands[0].joints_mm if hands else np.full((21, 3), np.nan))
    return np.array(said), float(np.median(took[_SETTLED:]))


def jitter(said: np.ndarray) -> float:
    rest = said[_SETTLED:] - np.nanmean(said[_SETTLED:], 0)
    return float(np.sqrt(np.nanmean(np.square(rest).sum(-1))))


def lag(said: np.ndarray, true: np.ndarray) -> float:
    """In frames; a joint's constant error does not count."""
    times, delays = np.arange(_FRAMES), np.arange(-1.0, 4.01, 0.05)
    off = []
    for delay in delays:
        late = np.stack([np.interp(times - delay, times, column) for column in true.reshape(_FRAMES, -1).T], 1)
        apart = (said.reshape(_FRAMES, -1) - late)[_SETTLED:]
        off.append(np.nanmean(np.square(apart - np.nanmean(apart, 0))))
    return float(delays[int(np.argmin(off))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--camera", default="d435-640")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    rows: list[tuple[float, ...]] = []
    for index, scene in zip(range(args.scenes), Scenes(args.camera), strict=False):
        predictor = Predictor(args.model, scene.camera, threads=args.threads)
        still, _ = stream(scene, moves=False, seed=index)
        raw, smooth = (follow(predictor, still, steady)[0] for steady in (False, True))
        moving, true = stream(scene, moves=True, seed=1000 + index)
        (raw_way, _), (way, took) = (follow(predictor, moving, steady) for steady in (False, True))
        seen = float(np.isfinite(way[:, 0, 0]).mean())
        rows.append((jitter(raw), jitter(smooth), lag(raw_way, true), lag(way, true), seen, 1 / took))
        print(
            f"scene {len(rows)}: jitter {rows[-1][0]:.2f} -> {rows[-1][1]:.2f} mm, lag {rows[-1][2]:.2f} -> "
            f"{rows[-1][3]:.2f} frames, seen in {seen:.0%}, {rows[-1][5]:.0f} frames/s",
            flush=True,
        )
    told = np.median(np.array(rows), 0)
    print(
        f"\nmedian: jitter {told[0]:.2f} mm, filtered {told[1]:.2f}; lag {told[2]:.2f} frames, filtered {told[3]:.2f}; "
        f"hand seen in {np.mean([r[4] for r in rows]):.1%} of the moving frames; {told[5]:.0f} frames/s in all"
    )


if __name__ == "__main__":
    main()
