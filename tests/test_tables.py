"""Comparisons: the same data and choices for all variants, results that are kept, and tables that tell them."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from work import work
from write_sets import render, write

from dor3d.errors import InputError
from dor3d.evaluate import tables as made
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.jobs import JobError, StoppedError, side_by_side
from dor3d.evaluate.tables import as_markdown, lines_of, make_tables, trial, tuning_trials
from dor3d.evaluate.trials import RATES, Plan, Result, Trial, _write, read_result, run_trial
from dor3d.evaluate.variants import BASE, TABLES, VARIANTS
from dor3d.metrics import paired_bootstrap
from dor3d.model.network import HandNet, parameter_count
from dor3d.train.recipes import PRESETS

FRAMES = 40


def plan(tmp_path: Path, **changes: object) -> Plan:
    return Plan(**{"out": tmp_path, "steps": 10, "seeds": 2, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_differ_from_the_base_in_their_own_fields_alone(variant: str, tmp_path: Path) -> None:
    base, config = (trial(plan(tmp_path), "compact", name, 1.0, 0).config() for name in ("ordinal", variant))
    model, other = config.model.to_json(), base.model.to_json()
    changed = {key for key in model if model[key] != other[key]}
    changed |= {key for key, value in config.to_json().items() if key != "model" and value != base.to_json()[key]}
    assert changed == set(VARIANTS[variant])


def test_the_base_is_the_papers_network(tmp_path: Path) -> None:
    assert {key: BASE[key] for key in BASE if key != "loss"} == {
        **{key: value for key, value in PRESETS["paper"].items() if key in BASE and key != "loss"},
        "features": "xy_z",
    }
    config = trial(plan(tmp_path), "resnet50", "ordinal", 1.0, 0).config()
    assert config.model.size == 224 and config.optimizer == "adamw" and config.lr == 3.5e-4
    assert parameter_count(HandNet(config.model)) == 32_716_238  # the paper: 32.7 M


def test_rows_name_variants_that_exist_and_are_compared_within_their_table() -> None:
    for table in TABLES.values():
        own = {row.variant for row in table.rows}
        assert own <= set(VARIANTS)
        assert all(row.against in own for row in table.rows if row.against)


@pytest.mark.parametrize(("backbone", "partner"), [("swin-b", "resnet50"), ("compact", "edgenext_xx_small")])
def test_table_5_sets_another_kind_of_backbone_beside(backbone: str, partner: str) -> None:
    rows = {line.row.label: line.backbone for line in lines_of(TABLES["5"], backbone)}
    assert rows["second"] == partner and rows["first"] == backbone
    assert ("F_xyz" in rows) is (backbone == "swin-b")  # the small one has a single map


def test_all_variants_choose_among_the_same_rates_and_see_the_same_samples(tmp_path: Path) -> None:
    configs = [t.config() for v in VARIANTS for t in tuning_trials(plan(tmp_path), "compact", v)]
    assert {c.lr for c in configs} == {2e-3 * r for r in RATES} and {c.steps for c in configs} == {2}
    assert {c.seed for c in configs} == {0} and len({json.dumps(c.data) for c in configs}) == 1


def store(t: Trial, errors: np.ndarray, validation: float = 1.0) -> None:
    axes = np.repeat(errors[:, None] / 2, 3, 1)
    _write(t, t.config(), Result(validation, None if t.tuning else axes, None if t.tuning else errors))


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


def test_tables_are_made_of_kept_results_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_TIMED_S", 0.0)
    own = plan(tmp_path)
    made_up_results(own, ("3", "4"))
    told: list[str] = []
    paths = make_tables(["3", "4"], own, told.append)
    assert told == [] and [p.name for p in paths] == ["table_3.md", "table_4.md"]
    three = json.loads((tmp_path / "table_3.json").read_text())
    offset, ordinal = three["rows"]
    assert offset["rate"] == 0.25 and ordinal["rate"] == 1.0
    assert offset["all"] == pytest.approx(6.5, abs=0.1) and offset["seeds"] == pytest.approx([6, 7], abs=0.1)
    assert offset["difference"]["mean"] == pytest.approx(-1, abs=0.1)
    assert offset["difference"]["low"] < -1 < offset["difference"]["high"] < -0.9
    assert offset["difference"]["axes"]["z"]["mean"] == pytest.approx(-0.5, abs=0.05)  # an axis has half of the error
    assert offset["paper"] == {"x": 3.31, "y": 3.33, "z": 4.32, "all": 7.34}
    assert three["budget"] == {
        "steps": 10,
        "batch": 64,
        "samples": 640,
        "seeds": 2,
        "tuning_steps": 2,
        "rates": [2e-3 * r for r in RATES],
    }
    text = (tmp_path / "table_4.md").read_text()
    assert "| exact labels (ours) | uniform |" in text and "7.06" in text
    assert text.count("\n|") == 6 and "nan" not in text


def test_markdown_shows_the_papers_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_TIMED_S", 0.0)
    own = plan(tmp_path)
    made_up_results(own, ("6",))
    make_tables(["6"], own)
    table = json.loads((tmp_path / "table_6.json").read_text())
    head = as_markdown(table).splitlines()[2]
    assert [c.strip() for c in head.strip("|").split("|")] == [
        *("method", "all", "parameters (M)", "frames/s", "difference [95 %]", "each seed"),
        *("paper: all", "paper: parameters (M)", "paper: frames/s"),
    ]
    assert "7.31" in as_markdown(table) and "| 86.9 | 47 |" in as_markdown(table)


def test_our_table_says_how_far_sigma_can_be_trusted() -> None:
    row = {"label": "one", "module": "", "x": 1.0, "y": 1.0, "z": 1.0, "all": 2.0, "seeds": [2.0], "paper": {}}
    known, unknown = {**row, "rank": 0.534, "within": 78.1}, {**row, "rank": None, "within": None}  # a set gives none
    about = {"samples": 640, "seeds": 1}
    named = {"table": "ours", "title": "", "measured_on": "clear", "backbone": "compact", "paper_measured_on": ""}
    text = as_markdown({**named, "columns": TABLES["ours"].columns, "budget": about, "rows": [known, unknown]})
    _, _, head, _, first, second = text.splitlines()
    assert "| rank of sigma | within sigma (%) |" in head
    assert "| 2.00 | 0.53 | 78 |" in first and "| 2.00 |  |  |" in second


def test_results_of_another_plan_are_refused(tmp_path: Path) -> None:
    own = plan(tmp_path)
    t = trial(own, "compact", "ordinal", 1.0, 0)
    assert read_result(t) is None
    store(t, np.ones(FRAMES))
    found = read_result(t)
    assert found is not None and found.error_mm is not None and len(found.error_mm) == FRAMES
    assert read_result(replace(t, plan=replace(own, jobs=2))) is not None  # how the machine is shared changes nothing
    with pytest.raises(InputError, match=r"is of another plan; got batch=64; expected batch=8\. Choose another folder"):
        read_result(replace(t, plan=replace(own, changes={"batch": 8})))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 0}, "--seeds must be at least 1; got 0"),
        ({"frames": -1}, "--frames must not be negative; got -1"),
        ({"dataset": "mano"}, "Unknown data set; got mano; expected synthetic, nyu"),
        ({"dataset": "nyu"}, "It is not said where nyu lies"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(tmp_path, **changes)


# ---- statistics ----------------------------------------------------------------------------------------------------
def test_bootstrap_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    for i in range(200):
        interval = paired_bootstrap(0.5 + rng.normal(0, 1, (1, 100)), rounds=400, seed=i)
        held += interval.low <= 0.5 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_bootstrap_draws_seeds_too() -> None:
    same, apart = np.zeros((3, 200)), np.repeat([[-1.0], [0.0], [1.0]], 200, 1)
    assert paired_bootstrap(same) == (0, 0, 0)
    interval = paired_bootstrap(apart)
    assert interval.low < -0.6 and interval.high > 0.6 and interval.mean == 0


def test_calibration_of_honest_and_of_mistaken_deviations() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 10, (500, 5, 3))
    error = rng.normal(0, sigma)
    honest, half, unrelated = (
        calibrate(error, sigma),
        calibrate(error, sigma / 2),
        calibrate(error, np.ones_like(sigma)),
    )
    assert honest.within == pytest.approx([0.683, 0.954], abs=0.02)
    assert np.allclose(honest.sigma_mm, honest.rms_mm, rtol=0.12)
    assert half.within[0] < 0.45 and np.allclose(half.sigma_mm, np.array(honest.sigma_mm) / 2, atol=0.01)
    assert half.joint_rank == honest.joint_rank > 0.3
    unrelated = calibrate(error, rng.permutation(sigma.ravel()).reshape(sigma.shape))
    assert abs(unrelated.joint_rank) < 0.1


# ---- processes -----------------------------------------------------------------------------------------------------
def test_items_are_done_by_processes_of_their_own(tmp_path: Path) -> None:
    items, done = [(tmp_path / str(i), "touch") for i in range(3)], []
    side_by_side(items, work, 2, done.append)
    assert sorted(done) == items and all(path.exists() for path, _ in items)


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("fail", JobError, "This cannot be done; got 3"),
        ("die", JobError, "A process died; got exit code -9"),
        ("unfinished", StoppedError, "Stopped; what is done is kept"),
    ],
)
def test_a_failure_stops_the_rest(tmp_path: Path, what: str, error: type[Exception], said: str) -> None:
    items = [(tmp_path / "first", what), *((tmp_path / str(i), "touch") for i in range(20))]
    with pytest.raises(error, match=said):
        side_by_side(items, work, 2)
    assert not (tmp_path / "19").exists()


def test_items_that_are_done_one_at_a_time_are_done_here(tmp_path: Path) -> None:
    side_by_side([(tmp_path / "first", os.getpid())], lambda item: os.getpid() == item[1], 1)
    with pytest.raises(InputError, match="This cannot be done"):
        side_by_side([(tmp_path / "first", "fail")], work, 1)
    with pytest.raises(StoppedError):
        side_by_side([(tmp_path / "first", "unfinished"), (tmp_path / "second", "touch")], work, 1)
    assert not (tmp_path / "second").exists()


# ---- the whole, as a user runs it ----------------------------------------------------------------------------------
COMMAND = [Path(sys.executable).with_name("dor3d"), "tables", "4", "--steps", "50", "--seeds", "1"]
SMALL = ["--batch", "4", "--size", "32", "--frames", "32", "--validation", "32", "--tensorboard", "false"]


@pytest.mark.slow
def test_table_4_from_the_command_line_stops_and_goes_on(tmp_path: Path) -> None:
    command = [*COMMAND, *SMALL, "--out", tmp_path]
    process = subprocess.Popen([*command, "--jobs", "2"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told, first = (process.stdout.readline() for _ in range(2))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert told.startswith("12 of 12 trainings are to be done") and first.startswith("1 of 12: ")
    assert process.returncode == 130
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert 1 <= len(kept) < 12
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all((tmp_path / "results" / name).stat().st_mtime_ns == when for name, when in kept.items())
    table = json.loads((tmp_path / "table_4.json").read_text())
    assert [row["label"] for row in table["rows"]] == ["uniform", "normal"] * 2
    for row in table["rows"]:
        assert 0 < row["all"] < 200 and len(row["tuning_mm"]) == 3 and row["speed"] > 0
        assert len(row["calibration"]) == 1
    assert (tmp_path / "table_4.md").read_text() in out
    assert not list((tmp_path / "runs").glob("*/checkpoints")) and not list((tmp_path / "runs").glob("crops*"))


@pytest.mark.parametrize("name", ["nyu", "msra"])
def test_a_trial_on_a_set_is_measured_on_the_frames_that_are_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames = render(name, 6)
    write(name, tmp_path / "set", frames)
    if name == "nyu":
        write(name, tmp_path / "set", frames, "train")
    changes = {"held_out": 0.3, "batch": 2, "size": 32, "tensorboard": False}
    # as many jobs as make each a single process
    own = plan(tmp_path / "out", dataset=name, root=tmp_path / "set", steps=2, jobs=1000, changes=changes)
    t = trial(own, "mobilenetv4_conv_small_035", "offset", 1.0, 0)
    assert run_trial(t)
    found = read_result(t)
    assert found is not None and found.error_mm is not None and found.axes_mm is not None
    assert len(found.error_mm) == (6 if name == "nyu" else 3)  # MSRA: of the subject that was not learnt
    assert found.axes_mm.shape == (len(found.error_mm), 3) and found.validation_mm > 0
    assert (found.error_mm >= found.axes_mm.max(1) - 0.1).all()
    tuning = tuning_trials(own, "mobilenetv4_conv_small_035", "offset")[0]
    assert run_trial(tuning)
    only = read_result(tuning)
    assert only is not None and only.error_mm is None and only.validation_mm > 0
