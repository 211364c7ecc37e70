"""How fast models run on this machine: `dor3d bench`."""
