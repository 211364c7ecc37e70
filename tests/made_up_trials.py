"""Results as trials would have left them."""

from pathlib import Path

import numpy as np

from dor3d.evaluate.results import Result, write_result
from dor3d.evaluate.tables import trial, tuning_trials
from dor3d.evaluate.trials import RATES, Plan, Trial
from dor3d.evaluate.variants import TABLES

FRAMES = 40


def plan(tmp_path: Path, **changes: object) -> Plan:
    return Plan(**{"out": tmp_path, "steps": 10, "seeds": 2, **changes})  # type: ignore[arg-type]


def store(t: Trial, errors: np.ndarray, validation: float = 1.0) -> None:
    axes = np.repeat(errors[:, None] / 2, 3, 1)
    write_result(t, Result(validation, None if t.tuning else axes, None if t.tuning else errors))


def made_up_results(own: Plan, names: tuple[str, ...]) -> None:
    """What trainings would have left: each variant's error follows from its name, `offset` prefers the first rate."""
    rng = np.random.default_rng(0)
    for name in dict.fromkeys(row.variant for n in names for row in TABLES[n].rows):  # type: ignore[index]
        rates = dict(zip(RATES, (10.0, 20.0, 30.0) if name == "offset" else (30.0, 20.0, 10.0), strict=True))
        for t in tuning_trials(own, "compact", name):
            store(t, np.zeros(0), rates[t.rate])
        for seed in range(own.seeds):
            best = 0.25 if name == "offset" else 1.0
            store(trial(own, "compact", name, best, seed), len(name) + seed + rng.normal(0, 0.1, FRAMES))
