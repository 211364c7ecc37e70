"""Heads: feature maps in, joints out.

A head is an `nn.Module` that turns `Maps` into a `Prediction`; its `fold` makes it ready for export.
"""
