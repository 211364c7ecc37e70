"""From a depth frame to hands: read it, find the hand, crop, run the network, map back; over a stream, follow it."""

from dor3d.predict.predictor import Hand, Predictor
from dor3d.predict.track import Tracker

__all__ = ["Hand", "Predictor", "Tracker"]
