"""What training on a CPU does of its own: memory that is kept, cores that are left to others."""

import ctypes
import subprocess
import sys

import pytest
import torch

from dor3d.train.cpu import own_threads


def test_a_cpus_training_keeps_the_memory_that_it_frees() -> None:
    """In a process of its own, which stays so: tensors that are made again and again meet no new pages."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("another C library than glibc")
    code = """
import resource, torch
from dor3d.train.cpu import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(20_000_000)  # 80 MB: 19,531 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
faults()
print(given_back, faults())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    given_back, kept = (int(word) for word in done.stdout.split())
    assert kept < given_back / 10


def test_a_core_is_left_to_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    cpu = torch.device("cpu")
    assert [own_threads(cpu, workers) for workers in (0, 1, 3, 8, 20)] == [8, 7, 5, 1, 1]
    assert own_threads(torch.device("cuda"), 3) == 8
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)  # OMP_NUM_THREADS, say
    assert own_threads(cpu, 1) == 2
