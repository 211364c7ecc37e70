"""dor3d: a depth frame in, the 21 joints of a hand out, in millimetres."""

__version__ = "0.1.0"
