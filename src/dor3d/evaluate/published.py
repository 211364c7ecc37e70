"""What papers report: table 1 of DOR3D-Net (Mao et al.), mean errors in mm, with the sources that it names."""

from typing import Final

# method -> benchmark -> mm; the paper's own row last
TABLE_1: Final[dict[str, dict[str, float]]] = {
    "HandPointNet": {"msra": 8.51, "nyu": 10.54, "icvl": 6.94},
    "DenseReg": {"msra": 7.23, "nyu": 10.21, "icvl": 7.30},
    "V2V-PoseNet": {"msra": 7.59, "nyu": 8.42, "icvl": 6.28, "hands17": 9.95},
    "Point-to-Point": {"msra": 7.71, "nyu": 8.99, "hands17": 9.82},
    "CrossInfoNet": {"msra": 7.86, "nyu": 10.08, "icvl": 6.73},
    "A2J": {"nyu": 8.61, "icvl": 6.46, "hands17": 8.57},
    "JGR-P2O": {"msra": 7.55, "nyu": 8.29, "icvl": 6.02},
    "HandFoldingNet": {"msra": 7.34, "nyu": 8.58, "icvl": 5.95},
    "SRN": {"msra": 7.16, "nyu": 7.78, "icvl": 6.26, "hands17": 8.39},
    "DenseRecurrent": {"msra": 7.01, "nyu": 6.85, "icvl": 6.05},
    "TriHorn-Net": {"msra": 7.13, "nyu": 7.68, "icvl": 5.73},
    "DOR3D-Net": {"msra": 6.93, "nyu": 6.71, "icvl": 5.87, "hands17": 6.99},
}


def reported(method: str, benchmark: str) -> float | None:
    """A method's mean error (mm) in table 1; None where the table has none. Case, spaces and hyphens do not matter."""
    rows = {plain(name): row for name, row in TABLE_1.items()}
    return rows.get(plain(method), {}).get(benchmark)


def plain(name: str) -> str:
    """A method's name by letters and digits alone."""
    return "".join(c for c in name.lower() if c.isalnum())
