"""A contact sheet of rendered crops, and on wish real frames in the same crops beside it, to look at.

    python benchmarks/render_sheet.py --out docs/images/rendered.png
    python benchmarks/render_sheet.py --real ../shared/real --out out/sheet.png

Real frames may not enter the repository: give a sheet with them a place that git ignores.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.files import write_whole
from dor3d.geometry import CropBox, Pinhole
from dor3d.hand.stage import WIDE
from dor3d.predict.locate import locate

_SIZE, _CUBE, _COLUMNS = 160, (300.0, 300.0), 8


def rendered(count: int, seed: int) -> list[np.ndarray]:
    """Network inputs of a stream with all that real use has."""
    source = SyntheticHands(SyntheticConfig(scene=WIDE, size=_SIZE, cube_mm=_CUBE), seed)
    return [source[i][0] for i in range(count)]


def real(folder: Path) -> list[np.ndarray]:
    """Network inputs of real frames: folders with a camera.json and 16-bit images (or NYU's two-byte colour images)."""
    tiles = []
    for camera_file in sorted(folder.glob("*/camera.json")):
        camera = Pinhole.load(camera_file)
        for path in sorted(camera_file.parent.glob("*.png")):
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image.ndim == 3:
                image = image[..., 1].astype(np.uint16) * 256 + image[..., 0]
            if image.dtype != np.uint16:
                continue  # a mask
            depth = image.astype(np.float32) * np.float32(camera.depth_unit_mm)
            tiles += [CropBox(camera, place.center_mm, _CUBE, _SIZE).image(depth) for place in locate(depth, camera)]
    return tiles


def sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles side by side, near surfaces bright."""
    grey = [(127.5 * (1 - tile)).astype(np.uint8) for tile in tiles]
    grey += [np.zeros_like(grey[0])] * (-len(grey) % _COLUMNS)
    return np.vstack([np.hstack(grey[i : i + _COLUMNS]) for i in range(0, len(grey), _COLUMNS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    tiles = rendered(args.count, args.seed)
    picture = sheet(tiles)
    if args.real:
        picture = np.vstack([picture, np.full((8, picture.shape[1]), 255, np.uint8), sheet(real(args.real))])
    _, png = cv2.imencode(".png", picture)
    write_whole(args.out, png.tobytes())
    print(json.dumps({"rendered": len(tiles), "sheet": str(args.out)}))


if __name__ == "__main__":
    main()
