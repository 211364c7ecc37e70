"""Full disks, folders that cannot be written, power cuts and kills: a run keeps its states."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from states import NOTES, leftovers, loaded, saved, tensors

import dor3d
from dor3d import files
from dor3d.errors import InputError
from dor3d.train.checkpoints import BEST, FOLDER, Checkpoints, read_state


@pytest.mark.parametrize("at", ["write", "sync", "rename"])
def test_a_full_disk_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    store = saved(tmp_path, 1, 2, keep=2)
    assert store.best(9.0, 1, tensors(1), NOTES)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if at == "write":
            fdopen = os.fdopen

            def small_disk(*args: Any, **options: Any) -> Any:
                stream = fdopen(*args, **options)
                stream.raw.write(b"half")
                stream.write = full
                return stream

            patch.setattr(files.os, "fdopen", small_disk)
        else:
            patch.setattr(files.os, {"sync": "fsync", "rename": "replace"}[at], full)
        with pytest.raises(
            InputError, match=r"Cannot write .*step-00000003.safetensors; got No space left on device\."
        ):
            store.save(3, tensors(3), NOTES)
        with pytest.raises(InputError, match=r"Cannot write .*best.safetensors; got No space left on device\."):
            store.best(8.0, 3, tensors(3), NOTES)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before
    assert leftovers(tmp_path) == []
    store.save(3, tensors(3), NOTES)
    assert store.steps() == [2, 3]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    store = Checkpoints(tmp_path)
    assert store.load(pytest.fail) is None
    with pytest.raises(
        InputError, match=r"^Cannot write .*step-00000001.safetensors; got a file where a folder should"
    ):
        store.save(1, tensors(), NOTES)
    with pytest.raises(InputError, match="got a file where a folder should be"):
        Checkpoints(tmp_path / FOLDER).best(1.0, 1, tensors(), NOTES)


def test_an_old_state_that_cannot_be_deleted_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path, 1, keep=1)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        store.save(2, tensors(2), NOTES)
    assert store.steps() == [1, 2]
    store.save(3, tensors(3), NOTES)
    assert store.steps() == [3]


def test_a_state_is_on_the_disk_before_its_name_and_before_an_older_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace, unlink = os.fsync, os.replace, Path.unlink

    def note_sync(handle: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{handle}")).name.partition(".safetensors")[0])
        fsync(handle)

    def note_replace(old: str, new: Path) -> None:
        done.append("rename")
        replace(old, new)

    def note_unlink(path: Path) -> None:
        done.append(f"delete {path.stem}")
        unlink(path)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not tell which file is open")
    monkeypatch.setattr(files.os, "fsync", note_sync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    monkeypatch.setattr(Path, "unlink", note_unlink)
    saved(tmp_path / "run", 1, 2, keep=1)
    first = ["sync .step-00000001", "rename", f"sync {FOLDER}", "sync run", f"sync {tmp_path.name}"]
    second = ["sync .step-00000002", "rename", f"sync {FOLDER}", "delete step-00000001"]
    assert done == first + second


def test_a_folder_that_cannot_be_synced_is_left_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def no_folders(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", no_folders)
    assert loaded(saved(tmp_path, 1)) == (1, [])


KILLED = """
import os, pathlib, random, signal, sys, time
import torch
from dor3d.train.checkpoints import Checkpoints

def save_until_killed(folder, log, parent):
    store, step = Checkpoints(folder, keep=2), 0
    while os.getppid() == parent:
        step += 1
        numbers = {name: torch.full((150_000,), step) for name in "abc"}
        store.save(step, numbers, {"made": str(step)})
        store.best(1000.0 - step, step, numbers, {})
        os.write(log, f"{step}\\n".encode())

main = os.getpid()
for folder in map(pathlib.Path, sys.argv[1:]):
    path = folder / "done.txt"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = os.fork()
    if not child:
        save_until_killed(folder, log, main)
        os._exit(1)
    while not path.stat().st_size:
        time.sleep(0.001)
    time.sleep(random.Random(folder.name).uniform(0.0, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_moment_leaves_a_state(tmp_path: Path) -> None:
    folders = [tmp_path / f"run-{i}" for i in range(8)]
    for folder in folders:
        folder.mkdir()
    source = str(Path(dor3d.__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, folders)],
        env=os.environ | {"PYTHONPATH": source},
        check=True,
        timeout=120,
    )
    for folder in folders:
        done = int((folder / "done.txt").read_text().split()[-1])
        store = Checkpoints(folder)
        state = store.load(pytest.fail)
        assert state is not None
        assert state.step - done in (0, 1)
        assert state.notes == {"made": str(state.step)}
        assert all((tensor == state.step).all() for tensor in state.tensors.values())
        assert 1 <= len(store.steps()) <= 3
        assert abs(read_state(folder / BEST).step - state.step) <= 1
        assert store.best_score() == 1000.0 - read_state(folder / BEST).step
        assert leftovers(folder) == []
