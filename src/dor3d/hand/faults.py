"""What is wrong with a camera: the strength of each fault, drawn for kinds of cameras.

Sources: Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise for improved 3D reconstruction and tracking", 3DIMPVT
2012 (axial noise growing with the square of the distance, lateral noise of about a pixel); Khoshelham and Elberink,
"Accuracy and resolution of Kinect depth data for indoor mapping applications", Sensors 2012 (disparities in eighths of
a pixel, a baseline of 75 mm); Sarbolandi, Lefloch and Kolb, "Kinect range sensing: structured-light versus
time-of-flight Kinect", CVIU 2015 (shadows, flying pixels, multipath); Zabatani et al., "Intel RealSense SR300 coded
light depth camera", PAMI 2020; Keselman et al., "Intel RealSense stereoscopic depth cameras", CVPR workshops 2017
(subpixel steps, filtering, what matching windows do to edges).
"""

from typing import Final, Literal, NamedTuple

import numpy as np

SensorKind = Literal["any", "structured", "coded", "stereo", "tof"]
_STEPS_MM: Final = (0.125, 0.5, 1.0, 1.0, 2.0)  # of real cameras; most count millimetres


class SensorFaults(NamedTuple):
    """Strength of each fault of one camera; all zero: a perfect one."""

    smoothing: int = 0  # passes of an edge-preserving mean over 3 x 3 readings
    ragged: float = 0.0  # share of readings taken one pixel aside
    noise_mm: float = 0.0  # axial noise (1 sd) at 0.5 m; grows with the square of the distance
    wave_mm: float = 0.0  # slow noise over patches of about eight pixels (1 sd) at 0.5 m
    rim: float = 0.0  # chance that the shadow beside a nearer surface has no readings
    rim_px: int = 1  # how wide the shadow is on all sides, where no baseline says so
    edge: float = 0.0  # chance that a reading at a surface's own edge is missing
    flying: float = 0.0  # chance that a reading at an edge lies between the two surfaces
    grazing: float = 0.0  # chance that a reading on a surface seen at a flat angle is missing
    speckle: float = 0.0  # share of readings missing anywhere
    blobs: int = 0  # patches without readings
    step_mm: float = 0.0  # quantisation at 0.5 m
    disparity: bool = False  # the step grows with the square of the distance
    baseline_mm: float = 0.0  # to the projector or second eye (right: positive): shadows are what it does not see
    fatten_px: float = 0.0  # how far nearer surfaces grow over what is behind them, in runs of a few pixels
    smear: int = 0  # passes of a mean over 3 x 3 readings across edges
    bulge: float = 0.0  # how much deeper hollows seem, as a share of how far their surroundings stand out


def sample_faults(rng: np.random.Generator, kind: SensorKind = "any") -> SensorFaults:
    """The faults of one camera and scene, from nearly perfect to poor.

    Args:
        kind: structured light by a pattern (Kinect 1) or a code (SR300); active stereo (D400); time of flight; or any
            mixture of faults, which is what `clear` has.
    """
    own = _any(rng)
    if kind == "structured":
        step = 250_000.0 / (_between(rng, 560.0, 600.0) * 75.0 * 8.0)
        own = own._replace(step_mm=step, disparity=True, baseline_mm=_side(rng) * 75.0, rim=_between(rng, 0.7, 1.0))
        return own._replace(fatten_px=_between(rng, 0.0, 3.0), flying=0.3 * own.flying)
    if kind == "coded":
        own = own._replace(step_mm=0.125, disparity=False, baseline_mm=_side(rng) * 26.0, rim=_between(rng, 0.7, 1.0))
        return own._replace(fatten_px=_between(rng, 0.0, 1.5), bulge=_between(rng, 0.0, 0.05))
    if kind == "stereo":
        own = own._replace(step_mm=_between(rng, 0.1, 1.0), disparity=True, wave_mm=_between(rng, 0.3, 2.2))
        own = own._replace(
            baseline_mm=_side(rng) * _between(rng, 18.0, 60.0), rim=rng.random(), ragged=0.3 * own.ragged
        )
        blobs = int(rng.integers(0, 6)) if rng.random() < 0.4 else 0
        return own._replace(fatten_px=_between(rng, 0.5, 4.0), smear=int(rng.integers(0, 3)), blobs=blobs)
    if kind == "tof":
        own = own._replace(step_mm=_between(rng, 0.25, 1.0), disparity=False, rim=0.3 * own.rim, rim_px=1)
        own = own._replace(flying=_between(rng, 0.1, 0.6), bulge=_between(rng, 0.0, 0.2), ragged=0.4 * own.ragged)
        return own._replace(noise_mm=_between(rng, 0.2, 2.5), grazing=_between(rng, 0.2, 1.0))
    return own


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _side(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _any(rng: np.random.Generator) -> SensorFaults:
    poor = rng.random() ** 1.5
    structured = rng.random() < 0.6
    rim = rng.random() if structured else 0.3 * rng.random()
    return SensorFaults(
        smoothing=int(rng.integers(0, 5)),
        ragged=0.5 * rng.random(),
        noise_mm=max(2.2 * poor * rng.random() - 0.2, 0.0),  # many cameras filter so well that none is left
        wave_mm=max(2.2 * poor * rng.random() - 0.2, 0.0),
        rim=rim,
        rim_px=1 + int(3 * rim),
        edge=0.5 * poor * rng.random(),
        flying=0.4 * poor * rng.random(),
        grazing=0.8 * rng.random(),
        speckle=0.03 * poor * rng.random() if rng.random() < 0.5 else 0.0,
        blobs=int(rng.integers(1, 5)) if rng.random() < 0.15 * poor else 0,
        step_mm=_STEPS_MM[rng.integers(len(_STEPS_MM))],
        disparity=bool(structured and rng.random() < 0.5),
    )
