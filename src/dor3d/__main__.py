"""`python -m dor3d` is `dor3d`."""

from dor3d.cli import main

if __name__ == "__main__":  # processes that a training starts may import this
    main()
