"""Kept crops: equal to rendered ones bit for bit, and only taken for the stream that they are of."""

from pathlib import Path

import pytest
import torch

from dor3d.data.kept import KeptHands, bytes_of, is_kept, keep
from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.errors import InputError

STREAM = SyntheticHands(SyntheticConfig(size=32), 3)


@pytest.mark.parametrize("processes", [1, 2])
def test_kept_crops_are_those_of_the_stream(tmp_path: Path, processes: int) -> None:
    keep(STREAM, 6, tmp_path / "kept", processes)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert sum(path.stat().st_size for path in (tmp_path / "kept").glob("*.npy")) == bytes_of(32, 6) + 2 * 128
    learnt = KeptHands(STREAM, tmp_path / "kept")
    for indices in ([0, 5, 2], [4, 5, 6, 7]):  # the second reaches beyond what is kept
        read, rendered = learnt.batch(0, indices).tensors(), STREAM.batch(0, indices).tensors()
        assert read.keys() == rendered.keys()
        assert all(torch.equal(read[name], rendered[name]) for name in read)


def test_crops_of_another_stream_are_not_taken(tmp_path: Path) -> None:
    keep(STREAM, 2, tmp_path / "kept")
    assert is_kept(STREAM, tmp_path / "kept", 2) and not is_kept(STREAM, tmp_path / "kept", 3)
    assert not is_kept(STREAM, tmp_path)
    for other in (SyntheticHands(STREAM.config, 4), SyntheticHands(SyntheticConfig(size=32, rough_center=0.5), 3)):
        assert not is_kept(other, tmp_path / "kept")
        with pytest.raises(InputError, match=r"kept holds no crops of this stream; got .*seed 3"):
            KeptHands(other, tmp_path / "kept")


def test_keeping_that_was_interrupted_leaves_nothing_that_would_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(SyntheticHands, "sample", stop)
        keep(STREAM, 2, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    keep(STREAM, 2, tmp_path / "kept")
    assert (tmp_path / "kept").is_dir()
