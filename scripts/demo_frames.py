"""Render the frames that `dor3d demo` ships with: src/dor3d/demo_data/demo.npz.

    python scripts/demo_frames.py

Well-known gestures before a body or nothing, from the front and a little aside, left and right hands in
turn. The seed is one that no training stream and no test set uses.
"""

import dataclasses
import io
from pathlib import Path

import numpy as np

import dor3d
from dor3d.files import write_whole
from dor3d.geometry import Pinhole
from dor3d.hand.model import rot_x, rot_y, rot_z, sample_shape
from dor3d.hand.pose import gesture_pose
from dor3d.hand.scene import Scene, SceneConfig, mirrored, place_hand, read_frame

SEED = 2**31 + 9
GESTURES = ("spread", "victory", "point", "relaxed", "thumb_up", "love", "fist", "four")
SCENE = SceneConfig(focal_jitter=0.0, distance_mm=(320.0, 520.0), body=0.6, plane=0.0)
PALM, BACK = np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])  # hand frame to camera frame, fingers up
OUT = Path(dor3d.__file__).parent / "demo_data" / "demo.npz"


def scene(camera: Pinhole, index: int, rng: np.random.Generator) -> Scene:
    """One gesture, seen from the palm or the back and turned a little."""
    shape = sample_shape(rng)
    pose = gesture_pose(GESTURES[index], shape)
    turn = rot_z(rng.normal(0.0, 0.4)) @ rot_y(rng.normal(0.0, 0.35)) @ rot_x(rng.normal(0.0, 0.35))
    drawn = place_hand(rng, SCENE, shape, pose, turn @ (BACK if index % 3 == 2 else PALM), camera)
    return mirrored(drawn) if index % 2 else drawn


def main() -> None:
    """Render and write them."""
    # whole millimetres: an eighth of the size of 0.125 mm steps, and as good to look at
    camera = dataclasses.replace(Pinhole.preset("sr305").resized(320, 240), depth_unit_mm=1.0, name="rendered")
    rng = np.random.default_rng(SEED)
    scenes = [scene(camera, index, rng) for index in range(len(GESTURES))]
    depth = np.stack([np.round(read_frame(s, rng)).astype(np.uint16) for s in scenes])
    joints = np.stack([s.joints_mm for s in scenes]).astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, depth=depth, joints_mm=joints, camera=np.array(camera.to_json()))
    write_whole(OUT, buffer.getvalue())
    print(f"{OUT}: {len(buffer.getvalue()) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
