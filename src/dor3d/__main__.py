"""`python -m dor3d` is `dor3d`."""

from dor3d.cli import main

main()
