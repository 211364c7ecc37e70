"""A run's record can be read by others, wherever it was made."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

import dor3d
from dor3d.train import record
from dor3d.train.record import run_record


def test_a_record_says_what_a_run_was_made_with() -> None:
    made = run_record({"lr": 1e-3, "model": {"cube_mm": (280.0, 300.0)}}, world_size=2)
    assert json.loads(json.dumps(made)) == made
    assert made["config"] == {"lr": 1e-3, "model": {"cube_mm": [280.0, 300.0]}}
    assert (made["dor3d"], made["world_size"], made["command"]) == (dor3d.__version__, 2, sys.argv)
    assert made["threads"] == torch.get_num_threads()
    assert {"torch", "timm", "numpy", "lightning", "numba"} <= made["libraries"].keys()
    assert made["libraries"]["numpy"] == np.__version__
    started = datetime.fromisoformat(made["started"])
    assert started.utcoffset() == timedelta(0)
    assert made.keys() >= {"git", "python", "platform", "cpu", "gpus"}


def checkout(folder: Path) -> Path:
    """A git checkout with a package in it; skips where there is no git."""
    package = folder / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        try:
            subprocess.run(["git", "-C", str(folder), *arguments], check=True)
        except FileNotFoundError:
            pytest.skip("needs git")
    return package


def test_the_revision_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = checkout(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as a git hook sets it
    found = record._git(package)
    assert found is not None
    assert (len(found["revision"]), found["dirty"]) == (40, False)
    (package / "new.txt").write_text("what a run leaves behind")
    assert record._git(package) == found
    (package / "__init__.py").write_text("changed")
    assert record._git(package) == {"revision": found["revision"], "dirty": True}


def test_a_package_installed_inside_a_checkout_has_no_revision(tmp_path: Path) -> None:
    checkout(tmp_path)
    installed = tmp_path / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert record._git(installed) is None
    assert record._git(tmp_path / "missing") is None


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), PermissionError("git"), subprocess.TimeoutExpired("git", 3.0)]
)
def test_git_may_be_missing_or_hang(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(record.subprocess, "run", fail)
    assert record._git(Path(dor3d.__file__).parent) is None


def test_a_record_is_made_without_git_and_without_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(record, "_LIBRARIES", ("numpy", "no-such-library"))
    made = run_record({})
    assert made["git"] is None
    assert list(made["libraries"]) == ["numpy"]
