"""By how much focal lengths are off, told by how long a hand seems that was measured with a ruler.

A network draws sizes that it has seldom seen to the usual ones: with a camera that makes hands 1.4 times as long it
tells less than that. So the camera is looked for with which the hand has the measured length: there the network sees
hands of the size that they are.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from dor3d.predict.look import Aim, Look, Looker, View
from dor3d.predict.predictor import Hand, Predictor
from dor3d.skeleton import FINGER_JOINTS, WRIST

RATIOS: Final = np.geomspace(0.5, 2.0, 11)  # of focal lengths
_TELLS: Final = 1.1
_WAY: Final = [WRIST, *FINGER_JOINTS["middle"]]


def hand_length(joints_mm: Float[ndarray, "a 3"]) -> float:
    """From the wrist along the middle finger to its tip (mm)."""
    return float(np.linalg.norm(np.diff(joints_mm[_WAY], axis=0), axis=1).sum())


def lengths(predictor: Predictor, depth: Num[ndarray, "h w"], unit_mm: float, hand: Hand) -> Float[ndarray, "r"]:
    """A hand's length (mm) were the focal lengths `RATIOS` times as long; NaN where none is seen then."""
    looks = [_look(predictor, depth, unit_mm, hand, float(ratio)) for ratio in RATIOS]
    return np.array([np.nan if look is None else hand_length(look.joints_mm) for look in looks])


def _look(predictor: Predictor, depth: Num[ndarray, "h w"], unit_mm: float, hand: Hand, ratio: float) -> Look | None:
    camera = predictor.camera
    lens = replace(camera, fx=camera.fx * ratio, fy=camera.fy * ratio, name="")
    looker = Looker(predictor.model, lens, predictor.cube_mm)
    x, y, z = hand.center_mm.tolist()
    look = None
    for place in ((x / ratio, y / ratio, z), None):
        at = place or (look.middle_mm if look else None)
        if at is not None:
            (look,) = looker.many([View(depth, unit_mm, Aim(at, hand.handedness == "left"))])
    return look


def focal_ratio(told_mm: Float[ndarray, "n r"], hand_mm: float) -> float | None:
    """By how much focal lengths must be multiplied for hands to have the measured length; None where nothing tells.

    Args:
        told_mm: `lengths` of some hands.
        hand_mm: the measured length.
    """
    seen = np.isfinite(told_mm).any(0)
    if not seen.any():
        return None
    ratios, curve = RATIOS[seen], np.nanmedian(told_mm[:, seen], 0)
    # the longer focal lengths are, the shorter is a hand; below the longest one it no longer fits into its crop
    ratios, curve = ratios[curve.argmax() :], np.minimum.accumulate(curve[curve.argmax() :])
    if curve[0] < _TELLS * curve[-1]:  # whatever the camera, hands are as long
        return float(curve[0] / hand_mm)
    return float(np.exp(np.interp(np.log(hand_mm), np.log(curve[::-1]), np.log(ratios[::-1]))))
