"""A right hand made of spheres: sizes that vary between people, and forward kinematics.

The skin is the union of convex hulls of two spheres (tapered capsules: fingers) and of three (wedges: palm, webs,
wrist, forearm); see `dor3d.hand.render`. The hand frame has its origin at the wrist: x towards the thumb (radial), y
towards the fingers (distal), z out of the palm (palmar), in mm. A left hand is a mirrored right one.

Sources of the sizes
- the average hand: `dor3d.hand.sizes`;
- hand length and breadth of women and men: Gordon et al., "2012 anthropometric survey of U.S. Army personnel",
  NATICK/TR-15/007, and its 1988 predecessor: 194 (sd 10) and 180.5 (sd 9.5) mm long.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.hand.sizes import SIZES, SPHERE_COUNT, SPHERES
from dor3d.skeleton import JOINT_COUNT

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
    palm: (
        ndarray  # [SPHERE_COUNT, 3] resting place of the spheres that move with the palm; of webs and the thumb's ball,
    )
    #   which move with a bone, the offset from their point on it
    arm: ndarray  # [2, 2] distance from the wrist and half distance between the two spheres of each arm section


_REST_LENGTH = 187.0
_FAN = np.radians([[-4.0, -6.0], [0.0, -1.5], [5.0, 1.0], [11.0, 7.0]])
# the average hands, one row a version
_MCP = np.stack([sizes.mcp for sizes in SIZES])
_BONES = np.stack([sizes.bones for sizes in SIZES])
_THUMB_CMC = np.stack([sizes.thumb_cmc for sizes in SIZES])
_THUMB_BONES = np.stack([sizes.thumb_bones for sizes in SIZES])
_RADII = np.stack([sizes.radii for sizes in SIZES])
_PLACES = np.stack([sizes.places for sizes in SIZES])
_THENAR_LIFT = np.array([sizes.thenar_lift for sizes in SIZES])
_ARM = np.stack([sizes.arm for sizes in SIZES])
_VERSIONS: Final = len(SIZES)
_FIRST_PAD: Final = _AT["pad_index"]
_FIRST_WEB: Final = _AT["web_index"]
_FIRST_ARM: Final = _AT["arm_r1"]
_WRIST_R: Final = _AT["wrist_r"]
_CARPAL_R: Final = _AT["carpal_r"]
_HYPOTHENAR: Final = _AT["hypothenar"]
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


def average_shape(version: int = 1) -> HandShape:
    """Return the adult hand that all others vary: 187 mm long.

    Args:
        version: of the hand's sizes, as in `dor3d.hand.sizes`.

    Raises:
        InputError: there is no such version.
    """
    if not 1 <= version <= _VERSIONS:
        raise InputError("Version of the hand's sizes", got=version, expected=f"1 to {_VERSIONS}")
    ones, flesh = np.ones(SPHERE_COUNT), np.zeros((SPHERE_COUNT, 3))
    return shape_from(version, 1.0, 1.0, 1.0, np.ones((4, 3)), np.ones(3), ones, np.zeros((5, 3)), flesh)


@njit(cache=True)
def sample_shape(rng: np.random.Generator, version: int = 1) -> HandShape:
    """Draw one person's hand: length by sex and age, then breadth, proportions and thickness around it.

    Args:
        rng: advanced by as many draws as the version takes.
        version: of the hand's sizes, as in `dor3d.hand.sizes`.
    """
    kind = rng.random()
    if kind < 0.43:
        length = rng.normal(194.0, 10.0)
    elif kind < 0.86:
        length = rng.normal(180.5, 9.5)
    else:
        length = rng.uniform(140.0, 215.0)  # children from about eight years, and the largest men
    size = min(max(length, 135.0), 222.0) / _REST_LENGTH
    breadth = np.exp(rng.normal(0.0, 0.06))
    thickness = np.exp(rng.normal(-0.03, 0.10) if version == 1 else rng.normal(-0.05, 0.13))
    thickness = min(thickness, 1.14 * breadth)  # thicker fingers would not fit side by side
    fingers = np.exp(rng.normal(0.0, 0.025, (4, 1)) + rng.normal(0.0, 0.03, (4, 3)))
    thumb = np.exp(rng.normal(0.0, 0.03) + rng.normal(0.0, 0.03, 3))
    radii = np.exp(rng.normal(0.0, 0.04, SPHERE_COUNT))
    shift = rng.normal(0.0, 1.2, (5, 3))
    flesh = np.zeros((SPHERE_COUNT, 3))
    if version > 1:
        _vary_flesh(rng, radii, flesh)
    return shape_from(version, size, breadth, thickness, fingers, thumb, radii, shift, flesh)


@njit(cache=True)
def _vary_flesh(rng: np.random.Generator, radii: ndarray, flesh: ndarray) -> None:
    """Vary, in place, the cushions of the hand and its wrist: factors of radii, shifts in mm of the average hand."""
    heel, hollow = rng.normal(0.0, 1.3), rng.normal(0.0, 2.0)
    for k in range(_CARPAL_R, _THENAR):  # both sides of the heel, and the hypothenar
        flesh[k, 2] += heel
    flesh[_HYPOTHENAR, 2] += rng.normal(0.0, 1.6)
    radii[_THENAR] *= np.exp(rng.normal(0.0, 0.09))
    flesh[_THENAR, 2] += rng.normal(0.0, 1.6)
    for finger in range(4):
        flesh[_FIRST_PAD + finger, 2] += hollow if finger in (1, 2) else 0.4 * hollow
        for i in range(3):
            flesh[_FIRST_PAD + finger, i] += rng.normal(0.0, 1.0)
            flesh[_FIRST_WEB + finger, i] += rng.normal(0.0, 0.7)
    wrist = np.exp(rng.normal(0.0, 0.06))
    radii[_WRIST_R : _WRIST_R + 2] *= wrist
    radii[0] = min(radii[_WRIST_R], radii[_WRIST_R + 1])  # the joint's own sphere stays between them
    radii[_FIRST_ARM:] *= wrist


@njit(cache=True)
def shape_from(
    version: int,
    size: float,
    breadth: float,
    thickness: float,
    fingers: ndarray,
    thumb: ndarray,
    radii: ndarray,
    shift: ndarray,
    flesh: ndarray,
) -> HandShape:
    """Vary the average hand of a version by factors, and by shifts (mm of the average hand) of joints and flesh."""
    if version < 1 or version > _VERSIONS:
        raise ValueError("no such version of the hand's sizes")
    v = version - 1
    stretch = np.array([size * breadth, size, size * thickness])
    r = _RADII[v] * radii * size * thickness
    mcp = (_MCP[v] + shift[:4]) * stretch
    palm = (_PLACES[v] + flesh) * stretch
    palm[_FIRST_PAD : _FIRST_PAD + 4] += mcp
    palm[_THENAR, 2] += _THENAR_LIFT[v] * r[_THENAR]
    bones = _BONES[v] * fingers * size
    bones[:, 2] -= r[_TIP_SPHERES]  # a tip is one radius inside the skin
    thumb_bones = _THUMB_BONES[v] * thumb * size
    thumb_bones[2] -= r[4]
    arm = _ARM[v] * np.array([size, size * breadth])
    cmc = (_THUMB_CMC[v] + shift[4]) * stretch
    return HandShape(mcp, bones, _FAN.copy(), cmc, thumb_bones, _THUMB_FRAME.copy(), r, palm, arm)


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
    thumb_flesh(shape, out)
    for finger in range(4):
        knuckle, pip = joints[5 + 4 * finger], joints[6 + 4 * finger]
        for i in range(3):
            web = knuckle[i] + 0.36 * (pip[i] - knuckle[i])
            out[_FIRST_WEB + finger, i] = web + shape.palm[_FIRST_WEB + finger, i]
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
def thumb_flesh(shape: HandShape, spheres: ndarray) -> None:
    """Move, in place, the ball of the thumb and its web to where the thumb's joints are."""
    cmc, mcp = spheres[1], spheres[2]
    for i in range(3):
        bone = mcp[i] - cmc[i]
        spheres[_THENAR, i] = cmc[i] + 0.42 * bone + shape.palm[_THENAR, i]
        spheres[_THUMB_WEB, i] = cmc[i] + 0.88 * bone + shape.palm[_THUMB_WEB, i]


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
