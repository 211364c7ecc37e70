"""The task of a locator: where hands are in whole frames."""

import math
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from dor3d.data.rooms import RoomBatch
from dor3d.geometry import Pinhole
from dor3d.geometry.grid import COARSE, Grid
from dor3d.model.locator import Locator, Sights
from dor3d.predict.sights import Sighting, sightings
from dor3d.train.config import TrainConfig
from dor3d.train.locator_loss import at_hands, locator_loss
from dor3d.train.task import Judged

CUTOFF_MM: Final = 200.0  # a sighting that is farther off is of something else
_SHOWN: Final = 8


class Frame(NamedTuple):
    """A judged frame: its readings, where hands are (mm) and which of them had to be found, and what was seen."""

    depth: Float[ndarray, "y x"]
    camera: Pinhole
    hands: Float[ndarray, "n 3"]
    asked: ndarray
    seen: list[Sighting]


class LocateTask:
    """A `Locator`, taught by `locator_loss`.

    Its error in mm is OSPA's with a cutoff of 200 mm (Schuhmacher, Vo and Vo, "A consistent metric for performance
    evaluation of multi-object filters", 2008): of a frame, the mean distance of what was seen to the hands that it is
    assigned to, where a hand that was missed and a sighting too many count as the cutoff.

    Args:
        config: of the run.
    """

    sums: tuple[str, ...] = ("samples", "error_mm", "missed", "false_alarms")

    def __init__(self, config: TrainConfig) -> None:
        self.config = config.locator

    def network(self, pretrained: bool | Path) -> Locator:
        """A new one; no weights are found elsewhere."""
        del pretrained
        return Locator(self.config)

    def nothing(self, device: torch.device) -> RoomBatch:
        """A frame without readings or hands."""
        no = torch.zeros(1, 1, dtype=torch.bool, device=device)
        depth = torch.zeros(1, 1, *COARSE[::-1], device=device)
        return RoomBatch(depth, torch.ones(1, device=device), torch.ones(1, 1, 3, device=device), no, no)

    def numbers(self, net: nn.Module, batch: RoomBatch, layout: torch.memory_format) -> dict[str, Tensor]:
        """The loss, its parts, and how far off it is where hands are."""
        said: Sights = net(batch.depth.to(memory_format=layout), batch.pitch)
        loss = locator_loss(said, batch)
        parts = {name: value for name, value in loss._asdict().items() if name != "total"}
        return {"loss": loss.total, **parts, "error_mm": at_hands(said, batch).detach()}

    def judge(self, net: nn.Module, batch: RoomBatch) -> Judged:
        """The mean OSPA error of frames, hands that were missed and false alarms."""
        said = [part.float().cpu().numpy() for part in net(batch.depth, batch.pitch)]
        alone = RoomBatch(*(t.cpu() for t in batch))
        frames = [_frame([part[i] for part in said], alone, i) for i in range(batch.samples)]
        judged = np.array([judge_frame(f.seen, f.hands, f.asked) for f in frames]).sum(0).tolist()
        return Judged(dict(zip(self.sums, (batch.samples, *judged), strict=True)), frames[:_SHOWN])

    def sheet(self, shown: list[Frame], title: str) -> UInt8[ndarray, "h w 3"]:
        """Frames with white circles about hands and coloured ones about sightings."""
        return locator_sheet(shown, title)


def judge_frame(
    seen: list[Sighting], hands: Float[ndarray, "n 3"], asked: ndarray, cutoff: float = CUTOFF_MM
) -> tuple[float, float, float]:
    """OSPA's error of a frame (mm), hands that were missed, and false alarms.

    A sighting of a hand that nothing is asked of is passed over.

    Args:
        seen: what was found.
        hands: middles of those that are there (mm).
        asked: which of them have to be found.
        cutoff: of the distance between a hand and what is seen of it (mm).
    """
    if not len(hands) or not seen:
        missed, false = float(np.sum(asked)), float(len(seen))
        return (cutoff if missed or false else 0.0), missed, false
    apart = np.linalg.norm(np.array([s.center_mm for s in seen])[:, None] - hands[None], axis=-1)
    rows, columns = linear_sum_assignment(np.minimum(apart, cutoff))
    hits = [(r, c) for r, c in zip(rows, columns, strict=True) if apart[r, c] < cutoff]
    passed = sum(not asked[c] for _, c in hits)
    found = [apart[r, c] for r, c in hits if asked[c]]
    missed, false = float(np.sum(asked) - len(found)), float(len(seen) - passed - len(found))
    count = len(found) + max(missed, false)
    return ((sum(found) + cutoff * max(missed, false)) / count if count else 0.0), missed, false


def _frame(said: list[ndarray], batch: RoomBatch, i: int) -> Frame:
    focal = 1 / float(batch.pitch[i])
    # where the axis meets the image is not told to a locator; distances between points that are close do not need it
    camera = Pinhole(focal, focal, COARSE[0] / 2, COARSE[1] / 2, *COARSE)
    grid = Grid(1, np.arange(COARSE[0]), np.arange(COARSE[1]), camera)
    there = batch.there[i].numpy()
    places = batch.hands[i].numpy()[there].astype(np.float64)
    hands = camera.unproject(places[:, :2], places[:, 2]) if len(places) else np.zeros((0, 3))
    heat, offset, depth = said
    seen = sightings(heat, offset, depth, grid)
    return Frame(batch.depth[i, 0].numpy(), camera, hands, batch.asked[i].numpy()[there], seen)


def locator_sheet(frames: list[Frame], title: str) -> UInt8[ndarray, "h w 3"]:
    """Up to eight frames, four a row: true hands as white circles (grey where nothing is asked), sightings in colour.

    A full circle is a sure one.
    """
    tiles = [_tile(frame) for frame in frames]
    across = min(4, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    rows = [np.hstack(tiles[i : i + across]) for i in range(0, len(tiles), across)]
    strip = np.zeros((30, rows[0].shape[1], 3), np.uint8)
    cv2.putText(strip, title, (6, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (225, 228, 231), 1, cv2.LINE_AA)
    return np.vstack([strip, *rows])


_ZOOM: Final = 2
_HAND_MM: Final = 90.0  # a circle's radius
_ORANGE = (255, 160, 60)


def _tile(frame: Frame) -> UInt8[ndarray, "h w 3"]:
    seen = frame.depth > 0
    near, far = np.percentile(frame.depth[seen], (1, 99)) if seen.any() else (0.0, 1.0)
    grey = (np.interp(frame.depth, (near, max(far, near + 1)), (200.0, 50.0)) * seen).astype(np.uint8)
    grey = cv2.resize(grey, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_NEAREST)
    picture = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    for middle, asked in zip(frame.hands, frame.asked, strict=True):
        _circle(picture, frame.camera, middle, (255, 255, 255) if asked else (140, 140, 140), 1.0, 1)
    for sighting in frame.seen:
        _circle(picture, frame.camera, np.array(sighting.center_mm), _ORANGE, sighting.confidence, 2)
    return np.pad(picture, ((0, 6), (0, 6), (0, 0)))


def _circle(picture: ndarray, camera: Pinhole, middle: ndarray, colour: tuple, share: float, width: int) -> None:
    if middle[2] <= 0:
        return
    u, v = (camera.project(middle) * _ZOOM).tolist()
    if not (math.isfinite(u) and math.isfinite(v) and max(abs(u), abs(v)) < 1e4):
        return
    radius = min(int(_HAND_MM * camera.fx / middle[2] * _ZOOM), 2000)
    angle = round(360 * share)
    cv2.ellipse(picture, (round(u), round(v)), (radius, radius), -90.0, 0.0, angle, colour, width, cv2.LINE_AA)
