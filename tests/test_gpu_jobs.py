"""The script for a GPU that is lent: what it refuses, weights in parts, and each job from end to end without a GPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import ROOT

from dor3d.model.checkpoint import load_model, read_tensors
from dor3d.train.config import TrainConfig
from dor3d.train.recipes import get_recipe

SCRIPT = ROOT / "scripts" / "gpu_jobs.py"
# not on the machine that is lent, as far as is known: the script gets on without them
ABSENT = ("tyro", "lance", "beartype", "openvino", "wandb", "tensorboard")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_jobs", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_jobs"] = module  # its dataclasses look there for what they are of
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dance"], "Unknown job; got dance; expected compact, paper, bench, tables"),
        (["compact", "--minutes", "soon"], "argument --minutes: invalid float value: 'soon'"),
        (["compact", "--minutes", "0"], "--minutes must be positive; got 0"),
        (["paper", "--init", str(ROOT)], "paper begins from nothing; leave out --init"),
        (["compact", "--init", "nowhere"], "There is no file nowhere"),
        (["compact", "--tracked", "nowhere"], "There is no file nowhere"),
        (["compact"], "There is no GPU that PyTorch can use"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    words: list[str],
    said: str,
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_jobs.py", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        script.main()
    told = capsys.readouterr()
    assert end.value.code == 2 and told.err.startswith(f"error: {said}") and told.err.count("\n") == 1 and not told.out
    assert not (tmp_path / "out").exists()


def test_another_run_and_what_is_missing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_jobs.py", "bench", "--out", str(tmp_path), "--dry-run"])
    monkeypatch.setattr(script, "NEEDED", ("torch", "no_such_library", "nor_this"))
    with pytest.raises(SystemExit):
        script.main()
    assert capsys.readouterr().err == "error: Missing: no_such_library, nor_this\n"
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(SystemExit):
        script.main()
    assert "holds another run; choose an empty folder with --out" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "mine"


def test_weights_in_parts_are_joined_by_the_line_that_is_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, config = job_in(script, tmp_path), get_recipe("synth-compact")
    tensors = {"wide": torch.randn(300, 41), "narrow": torch.randn(7), "steps": torch.tensor(3)}
    script.keep_weights(job, "whole", config, tensors)
    monkeypatch.setattr(script, "FILE_BYTES", 9_000)
    script.keep_weights(job, "cut", config, tensors)
    assert sorted(p.name for p in (tmp_path / "out" / "cut").iterdir()) == [
        "config.json",
        *(f"model.safetensors.part{i}" for i in range(3)),
    ]
    join(tmp_path / "out")
    for name in ("whole", "cut"):
        (got, _) = read_tensors(tmp_path / "out" / name / "model.safetensors")
        assert torch.equal(got["wide"], tensors["wide"].half())
        assert torch.equal(got["narrow"], tensors["narrow"]) and torch.equal(got["steps"], tensors["steps"])
    assert TrainConfig.from_json(json.loads((tmp_path / "out" / "cut" / "config.json").read_text())) == config


def test_weights_that_find_no_room_are_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "FILE_BYTES", 1_000)
    job = job_in(script, tmp_path)
    script.keep_weights(job, "large", get_recipe("synth-compact"), {"wide": torch.zeros(300, 41)})
    assert not (tmp_path / "out").exists() and "too many to bring back" in job.text()


def job_in(script: ModuleType, folder: Path):
    (folder / "work").mkdir()
    args = script.argparse.Namespace(out=folder / "out", minutes=1.0, dry_run=True)
    return script.Job("compact", args, 0.0, folder / "work")


def join(out: Path) -> None:
    """As README.md says."""
    (line,) = [line for line in (out / "README.md").read_text().splitlines() if line.strip().startswith("cat ")]
    done = subprocess.run(["bash", "-c", line], cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith(": OK\n"), done.stderr


def dry_run(out: Path, *words: str) -> str:
    """A job from end to end, on one core and with what the lent machine has; what it printed."""
    absent = "; ".join(f"sys.modules[{name!r}] = None" for name in ABSENT if name != "openvino")
    argv = [str(SCRIPT), *words, "--out", str(out), "--dry-run"]
    code = f"import runpy, sys; {absent}; sys.argv = {argv!r}; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    one = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, one),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    files = [p for p in out.rglob("*") if p.is_file()]
    assert len(files) <= 8 and all(p.stat().st_size <= 16 * 2**20 for p in files)
    assert sum(p.stat().st_size for p in files) <= 64 * 2**20
    assert done.stdout.rstrip().endswith((out / "README.md").read_text().rstrip())
    return done.stdout


@pytest.mark.slow
def test_dry_run_of_compact(tmp_path: Path) -> None:
    told = dry_run(tmp_path, "compact", "--workers", "1", "--set", "lr=1e-4")
    assert "clear" in told and "hard" in told and "tracked" not in told
    (found,) = json.loads((tmp_path / "results.json").read_text()).values()
    assert found["sets"]["clear"]["frames"] == 4 and found["sets"]["clear"]["mean_mm"] < 100
    config = TrainConfig.from_json(json.loads((tmp_path / "compact" / "config.json").read_text()))
    assert config.lr == 1e-4 and config.minutes > 0
    net, shipped = load_model(tmp_path / "compact"), load_model(ROOT / "checkpoints" / "compact")
    assert net.config == config.model
    trunks = [torch.cat([p.flatten() for p in of.trunk.parameters()]) for of in (net, shipped)]
    assert torch.nn.functional.cosine_similarity(*trunks, dim=0) > 0.95  # it began from what ships


@pytest.mark.slow
def test_dry_run_of_the_papers_networks(tmp_path: Path) -> None:
    told = dry_run(tmp_path, "paper", "--workers", "0")
    assert "swin-b: its weights are too many to bring back" in told
    join(tmp_path)
    assert load_model(tmp_path / "resnet50").config.backbone == "resnet50"


@pytest.mark.slow
def test_dry_run_of_speed(tmp_path: Path) -> None:
    told = dry_run(tmp_path, "bench")
    assert "| compact | 5.2 | 2 |" in told and "| compact | torch-eager:fp32 |" in told


@pytest.mark.slow
def test_dry_run_of_tables(tmp_path: Path) -> None:
    assert "| ordinal regression |" in dry_run(tmp_path, "tables")
    assert (tmp_path / "results.zip").exists()
