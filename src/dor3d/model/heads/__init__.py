"""Heads: feature maps in, joints out. A head is an `nn.Module` that turns (F_xy, F_z) into a `Prediction`."""
