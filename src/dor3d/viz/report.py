"""The page of a training run: how far it came, its curves, its last sample pictures and its whole configuration.

It is made from the files of the run's folder alone, so that it can be made anywhere and of a run that goes on.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from dor3d import __version__
from dor3d.errors import InputError
from dor3d.files import write_whole
from dor3d.text import count_of, parse_json
from dor3d.viz.curves import Row, run_curves
from dor3d.viz.page import STYLE, embedded

REPORT: Final = "report.html"
SAMPLES: Final = "samples"  # sheets of pictures, step-00000500.png
SHEETS: Final = f"step-{'[0-9]' * 8}.png"
_CONFIG, _RECORD, _METRICS = "config.json", "record.json", "metrics.jsonl"


class _Run(NamedTuple):
    """What a run's folder holds, and what of it could not be read."""

    name: str
    config: Any
    record: Any  # None: there is none
    rows: list[Row]
    sheet: Path | None
    problems: list[str]


def sheet_name(step: int) -> str:
    """The file name of a step's sheet of samples; names sort as their steps do."""
    return f"step-{step:08d}.png"


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder: one page that loads nothing from elsewhere.

    It is made from `config.json`, `metrics.jsonl`, `record.json` and the last sheet of `samples`. All but the first may
    be missing, and each may be broken; the page says so.

    Raises InputError for a folder that is no run's, and when the page cannot be written.
    """
    folder = Path(folder)
    if not (folder / _CONFIG).is_file():
        raise InputError(
            f"{folder} is not the folder of a training run",
            got="no config.json in it" if folder.is_dir() else "no folder",
            fix="Name the folder that was given to --out.",
        )
    return write_whole(folder / REPORT, _page(_read(folder)))


# ---- reading -------------------------------------------------------------------------------------------------------
def _read(folder: Path) -> _Run:
    problems: list[str] = []
    config = _read_json(folder / _CONFIG, problems)
    record = _read_json(folder / _RECORD, problems) if (folder / _RECORD).exists() else None
    rows = _read_rows(folder / _METRICS, problems)
    sheets = sorted((folder / SAMPLES).glob(SHEETS))
    return _Run(folder.resolve().name, config, record, rows, sheets[-1] if sheets else None, problems)


def _read_text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}.")
        return ""


def _read_json(path: Path, problems: list[str]) -> Any:
    """A file's content, or an empty object."""
    text = _read_text(path, problems)
    try:
        return parse_json(text) if text else {}
    except ValueError:
        problems.append(f"{path.name} is not JSON.")
        return {}


def _read_rows(path: Path, problems: list[str]) -> list[Row]:
    """The lines of metrics that can be used, in the order of their steps."""
    if not path.exists():
        problems.append(f"There is no {path.name}: the run has not logged anything yet.")
        return []
    lines = [line for line in _read_text(path, problems).splitlines() if line.strip()]
    found = [_row(line) for line in lines]
    rows = [row for row in found if row is not None]
    if len(rows) < len(lines):
        problems.append(f"Left out of {path.name}: {count_of(len(lines) - len(rows), 'line')} that cannot be read.")
    if not lines:
        problems.append(f"{path.name} is empty: the run has not logged anything yet.")
    return sorted(rows, key=lambda row: row["step"])


def _row(line: str) -> Row | None:
    """The finite numbers of a line; None without a step among them."""
    try:
        content = parse_json(line)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    numbers = {name: float(value) for name, value in content.items() if _is_number(value)}
    return numbers if numbers.get("step", -1) >= 0 else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300  # false for nan too; a longer integer is no float


# ---- the page ------------------------------------------------------------------------------------------------------
def _page(run: _Run) -> str:
    recipe = run.config.get("recipe") if isinstance(run.config, dict) else None
    return _PAGE.format(
        style=STYLE + _MORE_STYLE,
        title=html.escape(str(recipe or run.name)),
        name=html.escape(run.name),
        problems="".join(f'<p class="problem">{html.escape(text)}</p>' for text in run.problems),
        tiles="".join(f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in _tiles(run)),
        curves=_curves(run.rows),
        samples=_samples(run.sheet),
        config=_table("Configuration", run.config),
        record="" if run.record is None else _table("Record", run.record),
        version=__version__,
    )


def _tiles(run: _Run) -> Iterator[tuple[str, str]]:
    yield _state(run)
    held_out = [row for row in run.rows if "validation_mm" in row]
    if held_out:
        best = min(held_out, key=lambda row: row["validation_mm"])
        yield _held_out("best", best)
        yield _held_out("last", held_out[-1])
    else:
        yield "–", "held-out error: not measured"
    errors = [row for row in run.rows if "error_mm" in row]
    if errors:
        yield _mm(errors[-1]["error_mm"]), "last error in training"
    speeds = [row["samples_per_s"] for row in run.rows if "samples_per_s" in row]
    if speeds:
        yield f"{sum(speeds) / len(speeds):,.0f} /s", "samples, mean over the run"


def _held_out(which: str, row: Row) -> tuple[str, str]:
    over = f", over {count_of(int(row['validation_samples']), 'sample')}" if "validation_samples" in row else ""
    return _mm(row["validation_mm"]), f"{which} held-out error, at step {row['step']:,.0f}{over}"


def _mm(value: float) -> str:
    """Those of a run that went astray are short too."""
    return f"{value:.2f} mm" if abs(value) < 1e5 else f"{value:.1e} mm"


def _state(run: _Run) -> tuple[str, str]:
    """Finished, or where it stands; a page cannot know whether a run still goes on."""
    done = max((int(row["step"]) for row in run.rows), default=0)
    total = _total_steps(run.config)
    if total is None:
        return f"step {done:,}", "the last one; the configuration does not say of how many"
    if done >= total:
        return "finished", f"all {count_of(total, 'step')}"
    return f"{math.floor(100 * done / total)} %", f"stopped at step {done:,} of {total:,}, or still going on"


def _total_steps(config: Any) -> int | None:
    """As TrainConfig.total_steps; None too for a configuration that does not have it."""
    raw = config if isinstance(config, dict) else {}
    steps, samples, batch = (raw.get(name) for name in ("steps", "samples", "batch"))
    if isinstance(steps, int) and steps > 0:
        return steps
    if isinstance(samples, int) and samples > 0 and isinstance(batch, int) and batch > 0:
        return max(1, samples // batch)
    return None


def _curves(rows: Sequence[Row]) -> str:
    figures = "".join(
        f'<figure><img src="{embedded(picture)}" alt="{title} over steps">'
        f"<figcaption><b>{title}</b></figcaption></figure>"
        for title, picture in run_curves(rows).items()
    )
    return f'<div class="frames curves">{figures}</div>' if figures else "<p>There are no numbers to draw yet.</p>"


def _samples(sheet: Path | None) -> str:
    if sheet is None:
        return ""
    try:
        picture = embedded(sheet.read_bytes())
    except OSError:
        return ""
    step = int(sheet.stem.removeprefix("step-"))
    return (
        f'<h2>Samples at step {step:,}</h2><figure class="sheet">'
        f'<img src="{picture}" alt="crops with the true and the predicted joints"></figure>'
    )


def _table(title: str, content: Any) -> str:
    cells = "".join(f"<tr><td>{html.escape(key)}</td><td>{html.escape(text)}</td></tr>" for key, text in _flat(content))
    body = f'<div class="table"><table class="flat"><tbody>{cells}</tbody></table></div>' if cells else "<p>Empty.</p>"
    return f"<h2>{title}</h2>{body}"


def _flat(content: Any) -> Iterator[tuple[str, str]]:
    """Dotted names and values of nested JSON, in its order; not by recursion, since a file may nest deeply."""
    left: list[tuple[str, Any]] = [("", content)]
    while left:
        name, value = left.pop()
        inner = _inner(value)
        if inner is None:
            yield name, _shown(value)
        else:
            left += [(f"{name}.{key}" if name else key, item) for key, item in reversed(list(inner.items()))]


def _inner(value: Any) -> Mapping[str, Any] | None:
    """What a value consists of, by name; None for what is shown in one cell."""
    if isinstance(value, dict):
        return value or None
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return {str(i): item for i, item in enumerate(value)}
    return None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "–"
    if value is None or value in ({}, ""):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


_MORE_STYLE: Final = """
.tiles { grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); }
.problem { border-left: 4px solid #c1121f; padding: 4px 0 4px 14px; color: var(--text); }
.curves img, .sheet img { display: block; width: 100%; background: #fff; }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
table.flat td { padding: 6px 18px; text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.flat td:first-child { color: var(--dim); width: 36%; }
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dor3d: training of {title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Training of {title}</h1>
<p>From the folder {name}. Errors are means over all joints and samples, in mm.</p>
{problems}
<div class="tiles">{tiles}</div>

<h2>Curves</h2>
{curves}

{samples}

{config}

{record}

<footer>dor3d {version}. The numbers are in metrics.jsonl, beside this page.</footer>
</main>
</body>
</html>
"""
