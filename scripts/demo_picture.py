"""The README's picture: the demo's frames with the joints that the shipped model finds.

    python scripts/demo_picture.py

Writes docs/images/demo.png, four close-ups a row.
"""

from pathlib import Path

import cv2
import numpy as np

from dor3d.demo import load_frames
from dor3d.files import write_whole
from dor3d.frames import in_mm
from dor3d.predict import Predictor
from dor3d.viz.overlay import close_up, png

OUT = Path(__file__).parents[1] / "docs" / "images" / "demo.png"
SIDE, COLUMNS = 300, 4


def main() -> None:
    """Predict, draw, write."""
    demo = load_frames()
    predictor = Predictor("compact", demo.camera)
    tiles = []
    for depth in demo.depth:
        (hand,) = predictor(depth)
        picture = close_up(
            in_mm(depth, demo.camera), hand.joints_px, predictor.joints, around_mm=float(hand.joints_mm[:, 2].mean())
        )
        tiles.append(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    rows = [np.concatenate(tiles[i : i + COLUMNS], 1) for i in range(0, len(tiles), COLUMNS)]
    write_whole(OUT, png(np.concatenate(rows)))
    print(OUT)


if __name__ == "__main__":
    main()
