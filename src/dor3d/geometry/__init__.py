"""Cameras and crops, and the conventions that everything in dor3d follows.

==================  ==========================================================================================
camera frame        x right, y down, z forward, in mm
depth image         float32 mm, ``[v, u]``; 0 means no reading
image point (u, v)  pixels; an integer is a pixel's *centre* (as in OpenCV): u = fx * x / z + cx, v = fy * y / z + cy
lens distortion     points are distorted and undistorted (OpenCV's coefficients), frames are never resampled
crop point (p,q,r)  p and q continuous in [0, S): crop column j covers [j, j + 1); mirrored: p -> S - p.
                    r = z - (z_centre - D / 2), in [0, D] mm
network input       (z - z_centre) / (D / 2) in [-1, 1]; nearer than the cube: its near face (-1); farther, or no
                    reading: its far face (+1)
resampling          once, from raw pixels, the nearest pixel at true pixel centres
hands               a network sees right hands; a left hand is a mirrored crop
==================  ==========================================================================================
"""

from dor3d.geometry.camera import PRESETS, Pinhole
from dor3d.geometry.crop import CropBox

__all__ = ["PRESETS", "CropBox", "Pinhole"]
