"""Errors a user can meet: each says what went wrong, what was got, what was expected and how to fix it."""


class Dor3dError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with 2."""

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        parts = [what]
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        line = "; ".join(parts)
        if fix:
            line = f"{line}. {fix}"
        super().__init__(" ".join(line.split()))


class InputError(Dor3dError, ValueError):
    """A value or an argument that cannot be used."""


class FrameError(InputError):
    """A depth frame that cannot be read or cannot be a depth frame."""


class CameraError(InputError):
    """Intrinsics that are unknown, malformed or do not fit the frame."""


class ModelError(Dor3dError, ValueError):
    """A model file that is broken, foreign or made for something else."""


class RoomError(ModelError):
    """There is no memory for what a model was asked."""


class NoHandError(Dor3dError):
    """No surface in the frame can be a hand."""


class StoppedError(Dor3dError):
    """Work that was told to stop before its end; what is done is kept."""


class MissingExtraError(Dor3dError, ImportError):
    """An optional part of dor3d is needed that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, expected=f"the extra '{extra}'", fix=f"Install it with: pip install 'dor3d[{extra}]'")
