"""What a user reads when something is wrong."""

import pytest

from dor3d import errors
from dor3d.errors import Dor3dError, FrameError, InputError, MissingExtraError, ModelError


def test_an_error_says_what_got_expected_and_fix() -> None:
    error = InputError("The cube is wrong", got="-3 mm", expected="a positive number", fix="Give --cube 300.")
    assert str(error) == "The cube is wrong; got -3 mm; expected a positive number. Give --cube 300."


def test_an_error_leaves_out_what_it_was_not_given() -> None:
    assert str(InputError("The cube is wrong")) == "The cube is wrong"
    assert str(InputError("The cube is wrong", got=0)) == "The cube is wrong; got 0"
    assert str(InputError("The cube is wrong", fix="Give another.")) == "The cube is wrong. Give another."


def test_an_error_is_one_line_even_when_its_cause_is_not() -> None:
    assert str(FrameError("Cannot read", got=OSError("bad\n  header\tbyte"))) == "Cannot read; got bad header byte"


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = MissingExtraError("Training needs PyTorch", "train")
    assert str(error) == (
        "Training needs PyTorch; expected the extra 'train'. Install it with: pip install 'dor3d[train]'"
    )


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InputError", ValueError),
        ("FrameError", ValueError),
        ("CameraError", ValueError),
        ("ModelError", ValueError),
        ("MissingExtraError", ImportError),
        ("NoHandError", Exception),
    ],
)
def test_each_error_can_be_caught_as_ours_and_as_the_builtin(name: str, builtin: type[Exception]) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, Dor3dError)
    assert issubclass(kind, builtin)


def test_a_frame_error_is_bad_input_and_a_model_error_is_not() -> None:
    assert issubclass(FrameError, InputError)
    assert not issubclass(ModelError, InputError)
