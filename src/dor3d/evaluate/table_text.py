"""Tables of trainings as Markdown."""

from typing import Any, Final

_HEADS: Final = {
    **{name: name for name in ("x", "y", "z", "all")},
    "parameters": "parameters (M)",
    "speed": "frames/s",
    "rank": "rank of sigma",
    "within": "within sigma (%)",
}


def as_markdown(table: dict[str, Any]) -> str:
    """A table as Markdown: ours, the difference with its interval, and the paper's numbers; what was tried below it."""
    columns = table["columns"]
    papers = [c for c in columns if any(c in row["paper"] for row in table["rows"])]
    modules = any(row["module"] for row in table["rows"])
    scope = "95 %" if table["budget"]["seeds"] > 1 else "95 %, frames alone"
    head = [*(["module"] if modules else []), "method", *(_HEADS[c] for c in columns)]
    head += [f"difference [{scope}]", "each seed", *(f"paper: {_HEADS[c]}" for c in papers)]
    lines = [_caption(table), "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table["rows"]:
        cells = [row["module"]] if modules else []
        cells += [row["label"], *(_cell(c, row) for c in columns), _difference(row), _seeds(row)]
        cells += [_paper_cell(c, row["paper"]) for c in papers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _rates(table)]) + "\n"


def _caption(table: dict[str, Any]) -> str:
    budget = table["budget"]
    number = f"Table {table['table']}. " if table["table"].isdigit() else ""
    skipped = f", {table['frames_skipped']:,} more could not be read" if table["frames_skipped"] else ""
    about = (
        f"{number}{table['title']}. Mean error in mm on {table['measured_on']} ({table['frames']:,} frames{skipped}), "
        f"{table['backbone']}, {budget['samples']:,} samples, "
        f"{budget['seeds']} seed{'' if budget['seeds'] == 1 else 's'}"
    )
    return f"{about}; the paper: {table['paper_measured_on']}." if table["paper_measured_on"] else f"{about}."


def _rates(table: dict[str, Any]) -> str:
    """Which learning rate each row took; most of them the same one."""
    rows = {(row["backbone"], row["variant"]): row for row in table["rows"]}.values()
    chosen = [row["rate"] for row in rows]
    usual = max(set(chosen), key=lambda rate: (chosen.count(rate), rate))
    others = [f"{row['label']} {row['rate']:g}" for row in rows if row["rate"] != usual]
    tried = sorted(float(rate) for rate in table["rows"][0]["tuning_mm"])
    text = f"Learning rates, as shares of the recipe's (tried: {', '.join(f'{rate:g}' for rate in tried)}): "
    return f"{text}{', '.join([*others, f'the others {usual:g}' if others else f'all {usual:g}'])}."


_DIGITS: Final = {"parameters": 1, "speed": 0, "within": 0}


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row.get(column)
    if value is None and None in row["seeds"]:
        return "diverged" if column == "all" else ""
    return "" if value is None else _number(column, value / 1e6 if column == "parameters" else value)


def _paper_cell(column: str, paper: dict[str, float]) -> str:
    return _number(column, paper[column]) if column in paper else ""


def _number(column: str, value: float) -> str:
    return f"{value:.{_DIGITS.get(column, 2)}f}"


def _difference(row: dict[str, Any]) -> str:
    found = row.get("difference")
    return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]" if found else ""


def _seeds(row: dict[str, Any]) -> str:
    return " ".join("diverged" if mm is None else f"{mm:.2f}" for mm in row["seeds"])
