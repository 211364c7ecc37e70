"""Sizes of the average hand: spheres' names, resting places and radii, and bone lengths, one record a version.

All lengths in mm, in the hand frame of `dor3d.hand.model`. Test sets and weights name the version that they were
rendered with: a version that was published never changes.

Sources of version 1
- bone lengths and the soft tissue beyond the last bone: Buryanov and Kotiuk, "Proportions of hand segments",
  Int. J. Morphology 28(3), 2010, tables 1 and 2;
- breadth and thickness of fingers: Garrett, "The adult human hand: some anthropometric and biomechanical
  considerations", Human Factors 13(2), 1971.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from dor3d.skeleton import JOINTS

# the joints' own spheres come first; then the flesh that has no joint
_EXTRA = (
    "wrist_r", "wrist_u", "carpal_r", "carpal_u", "hypothenar", "thenar", "thumb_web", "palm_i1", "palm_i2",
    "pad_index", "pad_middle", "pad_ring", "pad_little", "web_index", "web_middle", "web_ring", "web_little",
    "arm_r1", "arm_u1", "arm_r2", "arm_u2",
)  # fmt: skip
SPHERES: Final[tuple[str, ...]] = (*JOINTS, *_EXTRA)
SPHERE_COUNT: Final = len(SPHERES)

Place = tuple[float, float, float]


class HandSizes(NamedTuple):
    """The average hand of one version, in mm.

    Attributes:
        mcp: [4, 3] knuckles, index to little.
        bones: [4, 3] proximal, middle, distal (the last to the skin).
        thumb_cmc: [3] the thumb's root.
        thumb_bones: [3] metacarpal, proximal, distal (the last to the skin).
        radii: [SPHERE_COUNT].
        places: [SPHERE_COUNT, 3] of spheres that move with the palm: where they are; a pad's is counted from its
            knuckle, and that of a finger's web, of the thumb's ball and of its web from a point on the bone they
            move with (their x, y and z are the hand frame's too).
        thenar_lift: how far the thumb's ball is moved out of the palm, in its radii, besides.
        arm: [2, 2] distance from the wrist and half distance between the two spheres of each arm section.
    """

    mcp: ndarray
    bones: ndarray
    thumb_cmc: ndarray
    thumb_bones: ndarray
    radii: ndarray
    places: ndarray
    thenar_lift: float
    arm: ndarray


def _radii(by_name: dict[str, float]) -> ndarray:
    return np.array([by_name[name] for name in SPHERES])


def _places(by_name: dict[str, Place]) -> ndarray:
    return np.array([by_name.get(name, (0.0, 0.0, 0.0)) for name in SPHERES])


# an adult hand of 187 mm: Buryanov and Kotiuk's bones; carpal height 29 mm; tip: bone + soft tissue - radius
_VERSION_1 = HandSizes(
    mcp=np.array([[25.0, 91.0, 0.0], [5.0, 93.5, -2.0], [-14.5, 86.5, -1.0], [-32.0, 76.0, 3.0]]),
    bones=np.array([[39.8, 22.4, 19.6], [44.6, 26.3, 21.3], [41.4, 25.7, 21.2], [32.7, 18.1, 19.7]]),
    thumb_cmc=np.array([19.0, 24.0, 9.0]),
    thumb_bones=np.array([45.0, 31.6, 26.5]),
    radii=_radii({
        "wrist": 16.0,
        "thumb_cmc": 12.5, "thumb_mcp": 10.8, "thumb_ip": 9.2, "thumb_tip": 7.6,
        "index_mcp": 10.6, "index_pip": 8.9, "index_dip": 7.5, "index_tip": 6.4,
        "middle_mcp": 10.6, "middle_pip": 9.0, "middle_dip": 7.6, "middle_tip": 6.6,
        "ring_mcp": 10.0, "ring_pip": 8.4, "ring_dip": 7.1, "ring_tip": 6.2,
        "little_mcp": 9.0, "little_pip": 7.4, "little_dip": 6.3, "little_tip": 5.5,
        "wrist_r": 16.5, "wrist_u": 16.5, "carpal_r": 14.0, "carpal_u": 14.0, "hypothenar": 12.5,
        "thenar": 14.0, "thumb_web": 8.0, "palm_i1": 11.0, "palm_i2": 8.0,
        "pad_index": 12.2, "pad_middle": 12.4, "pad_ring": 12.0, "pad_little": 11.0,
        "web_index": 7.0, "web_middle": 7.2, "web_ring": 6.8, "web_little": 6.0,
        "arm_r1": 20.0, "arm_u1": 20.0, "arm_r2": 30.0, "arm_u2": 30.0,
    }),
    places=_places({
        "wrist": (0.0, 0.0, 0.0), "wrist_r": (12.0, 0.0, 0.0), "wrist_u": (-12.0, 0.0, 0.0),
        "carpal_r": (14.0, 20.0, 1.0), "carpal_u": (-16.0, 18.0, 2.0), "hypothenar": (-26.0, 40.0, 6.0),
        "palm_i1": (23.0, 54.0, 1.0), "palm_i2": (27.0, 82.0, 1.0),
        "pad_index": (0.0, -12.0, 3.0), "pad_middle": (0.0, -12.0, 3.0),
        "pad_ring": (0.0, -12.0, 3.0), "pad_little": (0.0, -12.0, 3.0),
    }),
    thenar_lift=0.2,
    arm=np.array([[90.0, 14.0], [235.0, 16.0]]),
)  # fmt: skip

# the joints of version 1 with the surface of three real hands, as `benchmarks/hand_fit.py --sizes` fits it. Mended by
# hand: the wrist's own sphere stays between those beside it; the heel (carpal_r, carpal_u), whose back few frames
# show, keeps more of its thickness
_VERSION_2 = HandSizes(
    mcp=_VERSION_1.mcp,
    bones=_VERSION_1.bones - [[0.0, 0.0, 0.0], [0.0, 0.0, 0.1], [0.0, 0.0, 0.1], [0.0, 0.0, 0.1]],
    thumb_cmc=_VERSION_1.thumb_cmc,
    thumb_bones=_VERSION_1.thumb_bones - [0.0, 0.0, 0.2],
    radii=_radii({
        "wrist": 14.3,
        "thumb_cmc": 12.7, "thumb_mcp": 10.5, "thumb_ip": 8.9, "thumb_tip": 7.4,
        "index_mcp": 10.7, "index_pip": 8.3, "index_dip": 7.3, "index_tip": 6.4,
        "middle_mcp": 9.8, "middle_pip": 8.5, "middle_dip": 7.5, "middle_tip": 6.5,
        "ring_mcp": 9.4, "ring_pip": 7.9, "ring_dip": 7.0, "ring_tip": 6.1,
        "little_mcp": 9.0, "little_pip": 7.3, "little_dip": 6.3, "little_tip": 5.4,
        "wrist_r": 14.6, "wrist_u": 16.1, "carpal_r": 17.6, "carpal_u": 16.6, "hypothenar": 12.4,
        "thenar": 16.0, "thumb_web": 8.7, "palm_i1": 12.4, "palm_i2": 8.0,
        "pad_index": 11.4, "pad_middle": 10.7, "pad_ring": 11.2, "pad_little": 10.2,
        "web_index": 6.8, "web_middle": 6.9, "web_ring": 6.7, "web_little": 5.9,
        "arm_r1": 20.0, "arm_u1": 20.0, "arm_r2": 30.0, "arm_u2": 30.0,
    }),
    places=_places({
        "wrist": (0.0, 0.0, 0.0), "wrist_r": (10.1, 4.6, -1.2), "wrist_u": (-10.9, 5.6, -1.0),
        "carpal_r": (7.4, 22.5, 5.6), "carpal_u": (-12.0, 21.0, 6.8), "hypothenar": (-24.5, 41.2, 9.9),
        "thenar": (-3.1, -0.6, -0.2), "thumb_web": (-1.7, 2.6, 2.7),
        "palm_i1": (19.2, 57.8, 4.1), "palm_i2": (27.6, 82.1, 1.8),
        "pad_index": (1.3, -11.6, 2.1), "pad_middle": (-1.8, -9.1, -2.5),
        "pad_ring": (-0.8, -11.7, -0.1), "pad_little": (1.7, -9.1, 4.7),
        "web_index": (-0.4, -1.2, 0.8), "web_middle": (0.1, -1.9, 0.3),
        "web_ring": (1.3, -0.8, 1.1), "web_little": (0.9, -0.4, 1.2),
    }),
    thenar_lift=0.2,
    arm=_VERSION_1.arm,
)  # fmt: skip

SIZES: Final = (_VERSION_1, _VERSION_2)  # by version, from 1 on
