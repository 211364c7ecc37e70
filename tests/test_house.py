"""The house's limits on files and functions, and what must agree between the files of the repository."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import dor3d

ROOT = Path(__file__).resolve().parent.parent
MEDIAN_LINES, MOST_LINES, FILE_LINES, README_LINES = 12, 80, 400, 150


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, from `def` to its end, docstring and all."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    lengths = [count for path in sources("src") for _, count in functions(path)]
    assert statistics.median(lengths) <= MEDIAN_LINES


def test_no_function_is_long() -> None:
    every = [one for path in sources("src", "tests", "benchmarks") for one in functions(path)]
    assert [f"{name}: {count} lines" for name, count in every if count > MOST_LINES] == []


def test_no_file_is_long() -> None:
    counts = {path: len(path.read_text().splitlines()) for path in sources("src", "tests", "benchmarks")}
    assert [f"{path}: {count} lines" for path, count in counts.items() if count > FILE_LINES] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < README_LINES


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    dead = [
        f"{document.relative_to(ROOT)} -> {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert dead == []


def test_the_citation_names_this_version() -> None:
    assert f"version: {dor3d.__version__}\n" in (ROOT / "CITATION.cff").read_text()
