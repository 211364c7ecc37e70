"""From a depth frame to hands: read it, find the hand, crop, run the network, map back."""

from dor3d.predict.predictor import Hand, Predictor

__all__ = ["Hand", "Predictor"]
