"""A parametric hand, rendered as depth cameras see it: sizes, poses, contact, ray casting, sensors and scenes."""
