"""A right hand made of spheres: sizes that vary between people, and forward kinematics.

The skin is the union of convex hulls of two spheres (tapered capsules: fingers) and of three (wedges: palm, webs,
wrist, forearm); see `dor3d.hand.render`. The hand frame has its origin at the wrist: x towards the thumb (radial), y
towards the fingers (distal), z out of the palm (palmar), in mm. A left hand is a mirrored right one.

Sources of the sizes
- bone lengths and the soft tissue beyond the last bone: Buryanov and Kotiuk, "Proportions of hand segments",
  Int. J. Morphology 28(3), 2010, tables 1 and 2;
- hand length and breadth of women and men: Gordon et al., "2012 anthropometric survey of U.S. Army personnel",
  NATICK/TR-15/007, and its 1988 predecessor: 194 (sd 10) and 180.5 (sd 9.5) mm long;
- breadth and thickness of fingers: Garrett, "The adult human hand: some anthropometric and biomechanical
  considerations", Human Factors 13(2), 1971.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.skeleton import JOINT_COUNT, JOINTS

# ---- pose: joint angles in radians --------------------------------------------------------------------------------
# fingers: 4 x (mcp flexion, mcp abduction towards the little finger, pip flexion, dip flexion), index to little;
# thumb: cmc flexion (across the palm), cmc adduction (towards the index finger), cmc twist, mcp flexion, ip flexion;
# wrist: flexion (palm towards the forearm), deviation towards the little finger
FINGER_ANGLES: Final = ("mcp_flexion", "mcp_abduction", "pip_flexion", "dip_flexion")
THUMB_ANGLES: Final = ("cmc_flexion", "cmc_adduction", "cmc_twist", "mcp_flexion", "ip_flexion")
WRIST_ANGLES: Final = ("flexion", "deviation")
THUMB0: Final = 16  # index of the thumb's first angle
WRIST0: Final = 21
ANGLE_COUNT: Final = 23
ANGLES: Final[tuple[str, ...]] = (
    *(f"{finger}_{angle}" for finger in ("index", "middle", "ring", "little") for angle in FINGER_ANGLES),
    *(f"thumb_{angle}" for angle in THUMB_ANGLES),
    *(f"wrist_{angle}" for angle in WRIST_ANGLES),
)

# ---- the sphere mesh ----------------------------------------------------------------------------------------------
# the joints' own spheres come first; then the flesh that has no joint
_EXTRA = (
    "wrist_r", "wrist_u", "carpal_r", "carpal_u", "hypothenar", "thenar", "thumb_web", "palm_i1", "palm_i2",
    "pad_index", "pad_middle", "pad_ring", "pad_little", "web_index", "web_middle", "web_ring", "web_little",
    "arm_r1", "arm_u1", "arm_r2", "arm_u2",
)  # fmt: skip
SPHERES: Final[tuple[str, ...]] = (*JOINTS, *_EXTRA)
SPHERE_COUNT: Final = len(SPHERES)
_AT: Final = {name: i for i, name in enumerate(SPHERES)}

_NEIGHBOURS = (("index", "middle"), ("middle", "ring"), ("ring", "little"))
_WEDGE_NAMES: Final[tuple[tuple[str, str, str], ...]] = (
    ("wrist_r", "wrist_u", "carpal_r"),
    ("wrist_u", "carpal_r", "carpal_u"),
    ("carpal_r", "pad_index", "pad_middle"),
    ("carpal_r", "carpal_u", "pad_middle"),
    ("carpal_u", "pad_middle", "pad_ring"),
    ("carpal_u", "pad_ring", "pad_little"),
    ("carpal_u", "hypothenar", "pad_little"),
    ("hypothenar", "pad_ring", "pad_little"),
    *((f"pad_{a}", f"pad_{b}", f"{a}_mcp") for a, b in _NEIGHBOURS),
    *((f"pad_{b}", f"{a}_mcp", f"{b}_mcp") for a, b in _NEIGHBOURS),
    *((f"{a}_mcp", f"{b}_mcp", f"web_{a}") for a, b in _NEIGHBOURS),
    *((f"{b}_mcp", f"web_{a}", f"web_{b}") for a, b in _NEIGHBOURS),
    ("carpal_r", "thumb_cmc", "thenar"),
    ("carpal_r", "thenar", "palm_i1"),
    ("thenar", "palm_i1", "thumb_web"),
    ("thumb_web", "palm_i1", "palm_i2"),
    ("wrist_r", "carpal_r", "thumb_cmc"),
    ("wrist_r", "wrist_u", "arm_r1"),
    ("wrist_u", "arm_r1", "arm_u1"),
    ("arm_r1", "arm_u1", "arm_r2"),
    ("arm_u1", "arm_r2", "arm_u2"),
)
_BONE_NAMES: Final[tuple[tuple[str, str], ...]] = (
    *((f"{f}_{a}", f"{f}_{b}") for f in ("index", "middle", "ring", "little")
      for a, b in (("mcp", "pip"), ("pip", "dip"), ("dip", "tip"))),
    ("thumb_cmc", "thumb_mcp"),
    ("thenar", "thumb_mcp"),
    ("thumb_mcp", "thumb_ip"),
    ("thumb_ip", "thumb_tip"),
)  # fmt: skip


def _edges() -> ndarray:
    """Every bone and every side of a wedge, once."""
    pairs = [tuple(sorted((_AT[a], _AT[b]))) for a, b in _BONE_NAMES]
    for i, j, k in _WEDGE_NAMES:
        pairs += [tuple(sorted((_AT[a], _AT[b]))) for a, b in ((i, j), (j, k), (i, k))]
    return np.array(sorted(set(pairs)), np.int64)


WEDGES: Final = np.array([[_AT[n] for n in names] for names in _WEDGE_NAMES], np.int64)
EDGES: Final = _edges()
ARM_SPHERES: Final = tuple(_AT[n] for n in ("arm_r1", "arm_u1", "arm_r2", "arm_u2"))
HAND_SPHERES: Final = SPHERE_COUNT - len(ARM_SPHERES)  # the hand's own come first


class HandShape(NamedTuple):
    """The sizes of one person's right hand, in mm, in the hand frame."""

    mcp: ndarray  # [4, 3] knuckles, index to little
    bones: ndarray  # [4, 3] proximal, middle, distal (the last to the tip sphere's centre)
    fan: ndarray  # [4, 2] resting abduction and roll of each finger's flexion plane (rad)
    thumb_cmc: ndarray  # [3]
    thumb_bones: ndarray  # [3] metacarpal, proximal, distal
    thumb_frame: ndarray  # [3, 3] columns: flexion axis, bone, pad of the thumb at zero angles
    radii: ndarray  # [SPHERE_COUNT]
    palm: ndarray  # [SPHERE_COUNT, 3] resting place of the spheres that move with the palm
    arm: ndarray  # [2, 2] distance from the wrist and half distance between the two spheres of each arm section


# an adult hand of 187 mm: Buryanov and Kotiuk's bones; carpal height 29 mm; tip: bone + soft tissue - radius
_MCP = np.array([[25.0, 91.0, 0.0], [5.0, 93.5, -2.0], [-14.5, 86.5, -1.0], [-32.0, 76.0, 3.0]])
_BONES = np.array([[39.8, 22.4, 19.6], [44.6, 26.3, 21.3], [41.4, 25.7, 21.2], [32.7, 18.1, 19.7]])  # to the skin
_FAN = np.radians([[-4.0, -6.0], [0.0, -1.5], [5.0, 1.0], [11.0, 7.0]])
_THUMB_CMC = np.array([19.0, 24.0, 9.0])
_THUMB_BONES = np.array([45.0, 31.6, 26.5])  # the last to the skin
_REST_LENGTH = 187.0
_RADII = {
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
}  # fmt: skip
_PALM = {
    "wrist": (0.0, 0.0, 0.0), "wrist_r": (12.0, 0.0, 0.0), "wrist_u": (-12.0, 0.0, 0.0),
    "carpal_r": (14.0, 20.0, 1.0), "carpal_u": (-16.0, 18.0, 2.0), "hypothenar": (-26.0, 40.0, 6.0),
    "palm_i1": (23.0, 54.0, 1.0), "palm_i2": (27.0, 82.0, 1.0),
}  # fmt: skip
_PAD_OFFSET = np.array([0.0, -12.0, 3.0])  # from a knuckle to the flesh of the palm before it
_RADII_ARRAY = np.array([_RADII[name] for name in SPHERES])
_PALM_ARRAY = np.array([_PALM.get(name, (0.0, 0.0, 0.0)) for name in SPHERES])
_ARM = np.array([[90.0, 14.0], [235.0, 16.0]])
_FIRST_PAD: Final = _AT["pad_index"]
_FIRST_WEB: Final = _AT["web_index"]
_FIRST_ARM: Final = _AT["arm_r1"]
_THENAR: Final = _AT["thenar"]
_THUMB_WEB: Final = _AT["thumb_web"]
_TIP_SPHERES = np.array([8, 12, 16, 20])


def _thumb_frame() -> ndarray:
    bone = np.array([0.62, 0.68, 0.39])
    bone /= np.linalg.norm(bone)
    pad = np.array([-0.80, 0.50, 0.28])
    pad -= bone * (pad @ bone)
    pad /= np.linalg.norm(pad)
    return np.stack([np.cross(bone, pad), bone, pad], 1)


_THUMB_FRAME = _thumb_frame()


def average_shape() -> HandShape:
    """The adult hand that all others vary: 187 mm long."""
    return _shape(1.0, 1.0, 1.0, np.ones((4, 3)), np.ones(3), np.ones(SPHERE_COUNT), np.zeros((5, 3)))


@njit(cache=True)
def sample_shape(rng: np.random.Generator, version: int = 1) -> HandShape:
    """One person's hand: length by sex and age, then breadth, proportions and thickness around it."""
    kind = rng.random()
    if kind < 0.43:
        length = rng.normal(194.0, 10.0)
    elif kind < 0.86:
        length = rng.normal(180.5, 9.5)
    else:
        length = rng.uniform(140.0, 215.0)  # children from about eight years, and the largest men
    size = min(max(length, 135.0), 222.0) / _REST_LENGTH
    breadth = np.exp(rng.normal(0.0, 0.06))
    thickness = min(np.exp(rng.normal(-0.03, 0.10)), 1.14 * breadth)  # thicker fingers would not fit side by side
    fingers = np.exp(rng.normal(0.0, 0.025, (4, 1)) + rng.normal(0.0, 0.03, (4, 3)))
    thumb = np.exp(rng.normal(0.0, 0.03) + rng.normal(0.0, 0.03, 3))
    radii = np.exp(rng.normal(0.0, 0.04, SPHERE_COUNT))
    return _shape(size, breadth, thickness, fingers, thumb, radii, rng.normal(0.0, 1.2, (5, 3)))


@njit(cache=True)
def _shape(
    size: float, breadth: float, thickness: float, fingers: ndarray, thumb: ndarray, radii: ndarray, shift: ndarray
) -> HandShape:
    stretch = np.array([size * breadth, size, size * thickness])
    r = _RADII_ARRAY * radii * size * thickness
    mcp = (_MCP + shift[:4]) * stretch
    palm = _PALM_ARRAY * stretch
    palm[_FIRST_PAD : _FIRST_PAD + 4] = mcp + _PAD_OFFSET * stretch
    bones = _BONES * fingers * size
    bones[:, 2] -= r[_TIP_SPHERES]  # a tip is one radius inside the skin
    thumb_bones = _THUMB_BONES * thumb * size
    thumb_bones[2] -= r[4]
    arm = _ARM * np.array([size, size * breadth])
    return HandShape(
        mcp, bones, _FAN.copy(), (_THUMB_CMC + shift[4]) * stretch, thumb_bones, _THUMB_FRAME.copy(), r, palm, arm
    )


# ---- forward kinematics ---------------------------------------------------------------------------------------------
@njit(cache=True)
def rot_x(a: float) -> ndarray:
    """Rotation [3, 3] about x by an angle (rad)."""
    c, s = np.cos(a), np.sin(a)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


@njit(cache=True)
def rot_y(a: float) -> ndarray:
    """Rotation [3, 3] about y by an angle (rad)."""
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


@njit(cache=True)
def rot_z(a: float) -> ndarray:
    """Rotation [3, 3] about z by an angle (rad)."""
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


@njit(cache=True)
def matmul3(a: ndarray, b: ndarray) -> ndarray:
    """3x3 product by hand: BLAS costs more than it saves here, and its sums depend on the machine."""
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
    return out


@njit(cache=True)
def _chain(frame: ndarray, start: ndarray, lengths: ndarray, flexions: ndarray, out: ndarray) -> None:
    """Write a finger's four joints: `frame` already holds the first joint's rotation."""
    out[0] = start
    for k in range(3):
        if k > 0:
            frame = matmul3(frame, rot_x(flexions[k - 1]))
        for i in range(3):
            out[k + 1, i] = out[k, i] + frame[i, 1] * lengths[k]


@njit(cache=True)
def finger_joints(shape: HandShape, pose: ndarray, finger: int, out: ndarray) -> None:
    """mcp, pip, dip and tip [4, 3] of finger 0 (index) to 3 (little), in the hand frame (mm)."""
    a = pose[4 * finger : 4 * finger + 4]
    frame = matmul3(rot_z(shape.fan[finger, 0] + a[1]), rot_y(shape.fan[finger, 1]))
    _chain(matmul3(frame, rot_x(a[0])), shape.mcp[finger], shape.bones[finger], a[2:], out)


@njit(cache=True)
def thumb_joints(shape: HandShape, pose: ndarray, out: ndarray) -> None:
    """cmc, mcp, ip and tip [4, 3] of the thumb, in the hand frame (mm)."""
    a = pose[THUMB0 : THUMB0 + 5]
    frame = matmul3(shape.thumb_frame, matmul3(rot_z(a[1]), rot_x(a[0])))
    _chain(matmul3(frame, rot_y(a[2])), shape.thumb_cmc, shape.thumb_bones, a[3:], out)


@njit(cache=True)
def hand_joints(shape: HandShape, pose: ndarray) -> ndarray:
    """The 21 canonical joints [21, 3] in the hand frame (mm)."""
    joints = np.zeros((JOINT_COUNT, 3))
    thumb_joints(shape, pose, joints[1:5])
    for finger in range(4):
        finger_joints(shape, pose, finger, joints[5 + 4 * finger : 9 + 4 * finger])
    return joints


@njit(cache=True)
def hand_spheres(shape: HandShape, pose: ndarray, joints: ndarray) -> ndarray:
    """All spheres [SPHERE_COUNT, 4] (centre, radius) in the hand frame (mm) of a hand whose joints are known."""
    out = np.empty((SPHERE_COUNT, 4))
    out[:, :3] = shape.palm
    out[:, 3] = shape.radii
    out[:JOINT_COUNT, :3] = joints
    thumb_flesh(out)
    for finger in range(4):
        knuckle, pip = joints[5 + 4 * finger], joints[6 + 4 * finger]
        for i in range(3):
            out[_FIRST_WEB + finger, i] = knuckle[i] + 0.36 * (pip[i] - knuckle[i])
    _arm(shape, pose, out)
    return out


@njit(cache=True)
def posed_hand(shape: HandShape, pose: ndarray, rotation: ndarray) -> tuple[ndarray, ndarray]:
    """Joints [21, 3] and spheres [SPHERE_COUNT, 4], turned by a rotation [3, 3] and centred on the joints (mm).

    The origin is the middle of the joints' bounding box, as in `dor3d.geometry.crop.center_of_joints`.
    """
    joints = hand_joints(shape, pose)
    spheres = hand_spheres(shape, pose, joints)
    for axis in range(3):
        x, y, z = rotation[axis]
        for k in range(JOINT_COUNT):
            joints[k, axis] = x * spheres[k, 0] + y * spheres[k, 1] + z * spheres[k, 2]
    centers = spheres[:, :3].copy()
    for axis in range(3):
        x, y, z = rotation[axis]
        middle = 0.5 * (joints[:, axis].min() + joints[:, axis].max())
        joints[:, axis] -= middle
        for k in range(SPHERE_COUNT):
            spheres[k, axis] = x * centers[k, 0] + y * centers[k, 1] + z * centers[k, 2] - middle
    return joints, spheres


@njit(cache=True)
def thumb_flesh(spheres: ndarray) -> None:
    """Move, in place, the ball of the thumb and its web to where the thumb's joints are."""
    cmc, mcp = spheres[1], spheres[2]
    for i in range(3):
        bone = mcp[i] - cmc[i]
        spheres[_THENAR, i] = cmc[i] + 0.42 * bone
        spheres[_THUMB_WEB, i] = cmc[i] + 0.88 * bone
    spheres[_THENAR, 2] += 0.2 * spheres[_THENAR, 3]


@njit(cache=True)
def _arm(shape: HandShape, pose: ndarray, out: ndarray) -> None:
    """The forearm leaves the wrist along -y, turned against the wrist's angles: the hand frame moves with the palm."""
    frame = matmul3(rot_x(-pose[WRIST0]), rot_z(-pose[WRIST0 + 1]))
    for section in range(2):
        distance, half = shape.arm[section, 0], shape.arm[section, 1]
        for side in range(2):
            x = half if side == 0 else -half
            for i in range(3):
                out[_FIRST_ARM + 2 * section + side, i] = frame[i, 0] * x - frame[i, 1] * distance
