"""Where hands are in a whole frame: by a network that learnt it, or by rule."""

from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from jaxtyping import Num
from numpy import ndarray

from dor3d.errors import ModelError
from dor3d.geometry import Pinhole
from dor3d.geometry.grid import coarse_grid
from dor3d.predict.locate import locate
from dor3d.predict.sights import Sighting, sightings
from dor3d.runtime.locator import SHIPPED, OnnxLocator

_UNSURE: Final = 0.5  # the rule does not tell


@runtime_checkable
class Finder(Protocol):
    """Finds hands in depth frames."""

    def __call__(self, depth: Num[ndarray, "h w"], camera: Pinhole, unit_mm: float) -> list[Sighting]:
        """Where hands may be, the surest first.

        Args:
            depth: a frame in units of `unit_mm`, 0 where there is no reading.
            camera: its camera.
            unit_mm: millimetres per unit of `depth`.
        """
        ...


class RuleFinder:
    """The nearest surface that may be a hand: one at most, of either side; see `dor3d.predict.locate`."""

    def __call__(self, depth: Num[ndarray, "h w"], camera: Pinhole, unit_mm: float) -> list[Sighting]:
        """As `Finder` has it."""
        return [Sighting(place.center_mm, _UNSURE) for place in locate(depth, camera, unit_mm)]


class LearnedFinder:
    """A locator's hands.

    Args:
        locator: the network.
        least: confidence of a place worth a look.
        most: hands.
    """

    def __init__(self, locator: OnnxLocator, least: float = 0.1, most: int = 2) -> None:
        self.locator, self.least, self.most = locator, least, most

    def __call__(self, depth: Num[ndarray, "h w"], camera: Pinhole, unit_mm: float) -> list[Sighting]:
        """As `Finder` has it."""
        grid = coarse_grid(camera, depth.shape[1], depth.shape[0])
        said = self.locator(grid.of(depth, unit_mm), 1 / grid.camera.fx)
        return sightings(said.heat, said.offset, said.distance, grid, self.least, self.most)


def make_finder(name: str | Path = "auto", threads: int | None = None) -> Finder:
    """`auto`: the locator that ships, or the rule where none does; `rule`; or a locator's file.

    Raises ModelError for a file that is no locator.
    """
    if str(name) == "rule" or (str(name) == "auto" and not SHIPPED.exists()):
        return RuleFinder()
    path = SHIPPED if str(name) == "auto" else Path(name)
    if not path.is_file():
        raise ModelError(f"There is no locator {name}", expected="auto, rule, or an ONNX file")
    return LearnedFinder(OnnxLocator(path, threads))
