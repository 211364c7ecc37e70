"""Comparisons: the same data and choices for all variants, results that are kept, and tables that tell them."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up_trials import made_up_results, plan, store

from dor3d.errors import InputError
from dor3d.evaluate import tables as made
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.intervals import paired_interval
from dor3d.evaluate.results import Result, write_result
from dor3d.evaluate.table_text import as_markdown
from dor3d.evaluate.tables import best_rate, lines_of, make_tables, trial, tuning_trials
from dor3d.evaluate.trials import RATES
from dor3d.evaluate.variants import BASE, TABLES, VARIANTS
from dor3d.model.network import HandNet, parameter_count
from dor3d.train.recipes import PRESETS

DOCS = Path(__file__).parent.parent / "docs" / "reproduction"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_differ_from_the_base_in_their_own_fields_alone(variant: str, tmp_path: Path) -> None:
    base, config = (trial(plan(tmp_path), "compact", name, 1.0, 0).config() for name in ("ordinal", variant))
    model, other = config.model.to_json(), base.model.to_json()
    changed = {key for key in model if model[key] != other[key]}
    changed |= {key for key, value in config.to_json().items() if key != "model" and value != base.to_json()[key]}
    assert changed == {name.partition(".")[0] for name in VARIANTS[variant]}


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


@pytest.mark.parametrize(
    ("backbone", "partner"),
    [
        *(("swin-b", "resnet50"), ("swin-t", "resnet50"), ("resnet50", "swin-b"), ("resnet18", "swin-t")),
        *(("resnet34", "swin-t"), ("compact", "edgenext_xx_small"), ("lcnet_035", "compact")),
    ],
)
def test_table_5_sets_another_kind_of_backbone_beside(backbone: str, partner: str, tmp_path: Path) -> None:
    lines = {line.row.label: line for line in lines_of(TABLES["5"], backbone)}
    rows = {name: line.backbone for name, line in lines.items()}
    assert rows["second"] == partner and rows["first"] == backbone
    numbers = {name: lines[name].row.paper_for(rows[name]).get("all") for name in ("first", "second")}
    kinds = {"swin": 6.99, "resn": 7.67}  # the paper's, of Swin-B and of ResNet50
    assert numbers == {"first": kinds.get(backbone[:4]), "second": kinds.get(partner[:4])}
    first, second = (trial(plan(tmp_path), name, "ordinal", 1.0, 0).config() for name in (backbone, partner))
    assert (first.batch, first.model.size, first.optimizer) == (second.batch, second.model.size, second.optimizer)
    assert ("F_xyz" in rows) is (backbone != "compact")  # which has a single map


def test_all_variants_choose_among_the_same_rates_and_see_the_same_samples(tmp_path: Path) -> None:
    configs = [t.config() for v in VARIANTS for t in tuning_trials(plan(tmp_path), "compact", v)]
    assert {c.lr for c in configs} == {2e-3 * r for r in RATES} and {c.steps for c in configs} == {2}
    assert {c.seed for c in configs} == {0} and len({json.dumps(c.data) for c in configs}) == 1


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
    assert -2 < offset["difference"]["low"] < -1 < offset["difference"]["high"] < 0
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
    assert text.count("\n|") == 6 and "nan" not in text and "clear (40 frames), compact, 640 samples, 2 seeds" in text
    tried = "Learning rates, as shares of the recipe's (tried: 0.25, 0.5, 1): "
    assert text.endswith(f"\n\n{tried}all 1.\n")
    assert (tmp_path / "table_3.md").read_text().endswith(f"{tried}offset-based regression 0.25, the others 1.\n")


@pytest.mark.parametrize("path", sorted(DOCS.glob("**/table_*.json")), ids=lambda path: str(path.relative_to(DOCS)))
def test_the_tables_of_the_docs_are_those_of_the_results_beside_them(path: Path) -> None:
    table = json.loads(path.read_text())
    steps = table["budget"]["steps"]
    for row in table["rows"]:
        name = f"synthetic-{row['backbone']}-{row['variant']}-x{row['rate']:g}-{steps}"
        files = [path.parent / "results" / f"{name}-s{seed}.npz" for seed in range(table["budget"]["seeds"])]
        with contextlib.ExitStack() as stack:
            results = [stack.enter_context(np.load(file)) for file in files]
            errors = np.array([file["error_mm"].astype(float) for file in results])
            axes = np.array([file["axes_mm"].astype(float) for file in results])
        assert row["seeds"] == errors.mean(1).round(3).tolist() and errors.shape[1] == table["frames"]
        assert [row[name] for name in "xyz"] == axes.mean((0, 1)).round(3).tolist()


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
    row |= {"rate": 1.0, "tuning_mm": {"0.5": 3.0, "1": 2.0}, "backbone": "compact", "variant": "ordinal"}
    known, unknown = ({**some, **row} for some in (known, unknown))
    about = {"samples": 640, "seeds": 1}
    named = {"table": "ours", "title": "", "measured_on": "clear", "backbone": "compact", "paper_measured_on": ""}
    named |= {"frames": 40, "frames_skipped": 2}
    text = as_markdown({**named, "columns": TABLES["ours"].columns, "budget": about, "rows": [known, unknown]})
    caption, _, head, _, first, second, _, _ = text.splitlines()
    assert "clear (40 frames, 2 more could not be read)" in caption and "difference [95 %, frames alone]" in head
    assert "| rank of sigma | within sigma (%) |" in head
    assert "| 2.00 | 0.53 | 78 |" in first and "| 2.00 |  |  |" in second


def test_a_rate_that_comes_to_no_number_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_TIMED_S", 0.0)
    own = plan(tmp_path)
    made_up_results(own, ("3",))
    low, middle, high = tuning_trials(own, "compact", "ordinal")
    store(high, np.zeros(0), np.inf)
    assert best_rate(own, "compact", "ordinal") == 0.5
    for t in (low, middle):
        store(t, np.zeros(0), np.inf)
    with pytest.raises(InputError, match="No learning rate trains ordinal on compact"):
        best_rate(own, "compact", "ordinal")
    store(high, np.zeros(0), 10.0)
    write_result(trial(own, "compact", "ordinal", 1.0, 1), Result(np.inf))
    make_tables(["3"], own)
    offset, ordinal = json.loads((tmp_path / "table_3.json").read_text())["rows"]
    assert ordinal["all"] is None and ordinal["seeds"][1] is None and "difference" not in offset
    assert ordinal["tuning_mm"] == {"0.25": None, "0.5": None, "1": 10.0}
    assert "| ordinal regression |  |  |  | diverged |" in (tmp_path / "table_3.md").read_text()


def test_speeds_are_measured_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "_TIMED_S", 0.0)
    own = plan(tmp_path)
    made_up_results(own, ("6", "3"))
    make_tables(["6", "3"], own)
    table = json.loads((tmp_path / "table_6.json").read_text())
    assert all(row["speed"] > 0 for row in table["rows"])
    assert not any("speed" in row for row in json.loads((tmp_path / "table_3.json").read_text())["rows"])
    make_tables(["6"], own)
    assert json.loads((tmp_path / "table_6.json").read_text())["rows"] == table["rows"]
    table["made"]["cpu"] = "another"
    table["rows"][0]["speed"] = 1e9
    (tmp_path / "table_6.json").write_text(json.dumps(table))
    make_tables(["6"], own)
    assert json.loads((tmp_path / "table_6.json").read_text())["rows"][0]["speed"] < 1e9


# ---- statistics ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seeds", "between_seeds", "frame", "own", "block"),
    [
        (1, 0.0, 3.0, 1.0, 1),  # one training: of frames alone
        (3, 0.0, 3.0, 1.0, 1),
        (3, 0.3, 3.0, 1.0, 1),  # trainings differ more than frames
        (2, 0.3, 0.0, 3.0, 1),
        (1, 0.0, 3.0, 1.0, 20),  # a recording: neighbours are alike
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    seeds: int, between_seeds: float, frame: float, own: float, block: int
) -> None:
    rng, held, rounds = np.random.default_rng(0), 0, 200
    for i in range(rounds):
        frames = np.repeat(rng.normal(0, frame, 40 if block > 1 else 100), block)
        difference = 0.5 + rng.normal(0, between_seeds, (seeds, 1)) + frames + rng.normal(0, own, (seeds, len(frames)))
        interval = paired_interval(difference, block=block, seed=i)
        held += interval.low <= 0.5 <= interval.high
    assert held / rounds >= 0.92
    if not between_seeds and own < frame:
        assert held / rounds <= 0.99  # and are no wider than they need to be


def test_neighbours_that_are_alike_count_as_one() -> None:
    alike = np.repeat(np.random.default_rng(0).normal(size=(1, 30)), 20, 1)
    alone, together = paired_interval(alike), paired_interval(alike, block=20)
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert paired_interval(np.zeros((3, 200))) == (0, 0, 0)


def test_calibration_of_honest_and_of_mistaken_deviations() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 10, (500, 5, 3))
    error = rng.normal(0, sigma)
    honest, half = calibrate(error, sigma), calibrate(error, sigma / 2)
    assert honest.within == pytest.approx([0.683, 0.954], abs=0.02)
    assert np.allclose(honest.sigma_mm, honest.rms_mm, rtol=0.12)
    assert half.within[0] < 0.45 and np.allclose(half.sigma_mm, np.array(honest.sigma_mm) / 2, atol=0.01)
    assert half.joint_rank == honest.joint_rank > 0.3
    unrelated = calibrate(error, rng.permutation(sigma.ravel()).reshape(sigma.shape))
    assert abs(unrelated.joint_rank) < 0.1


# ---- the whole, as a user runs it ----------------------------------------------------------------------------------
COMMAND = [Path(sys.executable).with_name("dor3d"), "tables", "4", "--steps", "50", "--seeds", "1"]
SMALL = ["--batch", "4", "--size", "32", "--frames", "32", "--validation", "32", "--tensorboard", "false"]


@pytest.mark.slow
def test_table_4_from_the_command_line_stops_and_goes_on(tmp_path: Path) -> None:
    command = [*COMMAND, *SMALL, "--out", tmp_path]
    process = subprocess.Popen([*command, "--jobs", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told, first = (process.stdout.readline() for _ in range(2))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert told.startswith("12 of 12 trainings are to be done") and first.startswith("1 of 12: ")
    assert process.returncode == 130 and said.endswith("Stopped; what is done is kept. The same command goes on.\n")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert 1 <= len(kept) < 12
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all((tmp_path / "results" / name).stat().st_mtime_ns == when for name, when in kept.items())
    table = json.loads((tmp_path / "table_4.json").read_text())
    assert [row["label"] for row in table["rows"]] == ["uniform", "normal"] * 2
    for row in table["rows"]:
        assert 0 < row["all"] < 200 and len(row["tuning_mm"]) == 3
        assert len(row["calibration"]) == 1
    assert (tmp_path / "table_4.md").read_text() in out
    assert not list((tmp_path / "runs").glob("*/checkpoints")) and not list((tmp_path / "runs").glob("crops*"))
