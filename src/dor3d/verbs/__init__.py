"""What `dor3d` can do: a function a verb. Everything heavy is imported by the verb that needs it."""

import os


def spin_briefly() -> None:
    """Let threads that wait for each other sleep soon, so that processes that make samples get the processor.

    Spinning for long, as is usual, they starve the ones that they wait for (docs/log.md). Read when torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
