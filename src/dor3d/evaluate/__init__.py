"""Predictions in files, what they score, and how methods compare."""
