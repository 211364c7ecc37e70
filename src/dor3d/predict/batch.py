"""Many depth frames to files: poses.jsonl with a line a frame, and an overlay of each."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from numpy import ndarray

from dor3d.errors import Dor3dError, InputError
from dor3d.files import whole_file, write_whole
from dor3d.frames import Frame, in_mm, read_frames
from dor3d.geometry import Pinhole
from dor3d.predict.flow import WriteBehind, read_ahead
from dor3d.predict.predictor import BELIEVED, Hand, Predictor, Side
from dor3d.predict.track import Tracker
from dor3d.runtime.backends import open_backend
from dor3d.text import count_of, cube_of, numbers
from dor3d.viz.overlay import draw_hands, png

_BATCH: Final = 8  # frames that the network is asked for at once where none follows from another
Item = TypeVar("Item")


@dataclass(frozen=True)
class Options:
    """What `dor3d predict` takes besides its inputs; each field as on the command line."""

    camera: str
    depth_unit_mm: float | None = None
    center: str | None = None
    centers: Path | None = None
    cube: str | None = None
    hand: Side = "auto"
    model: str = "compact"
    backend: str = "auto"
    threads: int | None = None
    overlay: bool = True
    out: Path = Path("dor3d-out")
    locator: str = "auto"
    least_confidence: float = BELIEVED
    track: bool = False
    rate: float = 30.0


@dataclass
class Summary:
    """What came of a batch."""

    frames: int = 0
    hands: int = 0
    without: int = 0
    errors: list[str] = field(default_factory=list)
    predict_s: float = 0.0
    network_s: float = 0.0

    def line(self, out: Path) -> str:
        """One line for people."""
        parts = [count_of(self.frames, "frame"), count_of(self.hands, "hand")]
        if self.without:
            parts.append(f"{self.without} without a hand")
        if self.errors:
            parts.append(f"{count_of(len(self.errors), 'error')} (first: {self.errors[0]})")
        done = self.frames - len(self.errors)
        if done and self.network_s > 0:
            parts.append(f"{done / self.predict_s:.0f} frames/s ({done / self.network_s:.0f} in the network alone)")
        return f"{', '.join(parts)}; results in {out}"


def predict_files(inputs: Sequence[str], options: Options) -> Summary:
    """Predict every frame of the inputs; writes `poses.jsonl` and `overlay/*.png` into the output folder.

    A bad frame among others becomes an entry with an "error"; if it is the only one, its error is raised and nothing
    is written. Raises InputError, CameraError or ModelError before anything is written when the options cannot be used.
    """
    if not inputs:
        raise InputError("No input", expected="depth frames or folders of them")
    camera = Pinhole.parse(options.camera, options.depth_unit_mm)
    centers = _Centers(options)
    if options.track and (options.center is not None or options.centers is not None):
        raise InputError("Hands that are followed need no centres", got="--track and a centre", fix="Leave out one.")
    frames = read_frames(inputs, options.depth_unit_mm)
    ahead = list(islice(frames, 2))
    alone = len(ahead) == 1
    predictor = _predictor(options, camera, alone=alone)
    if alone and isinstance(ahead[0].depth, Dor3dError):
        raise ahead[0].depth
    job = _Job(predictor, centers, options, alone=alone)
    with whole_file(options.out / "poses.jsonl", "w") as stream:
        job.run(chain(ahead, frames), stream)
    centers.check_all_used()
    return job.summary


def _predictor(options: Options, camera: Pinhole, *, alone: bool) -> Predictor:
    return Predictor(
        open_backend(options.model, options.backend, options.threads, once=alone),
        camera,
        hand=options.hand,
        cube_mm=None if options.cube is None else cube_of(options.cube),
        threads=options.threads,
        locator=options.locator,
        least_confidence=options.least_confidence,
    )


class _Job:
    """One run over frames."""

    def __init__(self, predictor: Predictor, centers: "_Centers", options: Options, *, alone: bool) -> None:
        self.predictor, self.centers, self.options, self.alone = predictor, centers, options, alone
        self.tracker = Tracker(predictor, rate_hz=options.rate) if options.track else None
        self._stream: tuple[Path, int] | None = None  # of the last frame, and the number of the stream's first
        self.summary = Summary()
        self._names: Counter[str] = Counter()
        self._shown = time.perf_counter()

    def run(self, frames: Iterable[Frame], stream: IO[str]) -> None:
        with WriteBehind() as behind:
            for group in _groups(enumerate(read_ahead(frames)), _BATCH if self.tracker is None else 1):
                for (_, frame), said in zip(group, self._said(group), strict=True):
                    stream.write(json.dumps(self._entry(frame, said, behind)) + "\n")
                    self._show()
        self._show(done=True)
        self.summary.network_s = self.predictor.network_s

    def _entry(self, frame: Frame, said: "list[Hand] | Dor3dError", behind: WriteBehind) -> dict[str, Any]:
        self.summary.frames += 1
        head: dict[str, Any] = {"frame": frame.name, "index": frame.index}
        if isinstance(said, Dor3dError):
            if self.alone:
                raise said
            self.summary.errors.append(f"{frame.name}: {said}")
            return {**head, "error": str(said)}
        self.summary.hands += len(said)
        self.summary.without += not said
        if self.options.overlay:  # a disk that is full ends the run, it is no fault of this frame
            behind.do(self._write_overlay, self._name(frame), frame.depth, said)
        return {**head, "joints": list(self.predictor.joints), "hands": [hand.to_json() for hand in said]}

    def _said(self, group: Sequence[tuple[int, Frame]]) -> "list[list[Hand] | Dor3dError]":
        """The hands of each frame, or what is wrong with it; the network is asked for all at once unless one is."""
        begin = time.perf_counter()
        try:
            if len(group) > 1:
                with suppress(Dor3dError):
                    asked = [(_depth(frame), self.centers.of(number, frame)) for number, frame in group]
                    return [*self.predictor.batch([depth for depth, _ in asked], [center for _, center in asked])]
            return [self._said_of(number, frame) for number, frame in group]
        finally:
            self.summary.predict_s += time.perf_counter() - begin

    def _said_of(self, number: int, frame: Frame) -> "list[Hand] | Dor3dError":
        try:
            depth, center = _depth(frame), self.centers.of(number, frame)
            if self.tracker is not None:
                return self._tracked(self.tracker, number, frame, depth)
            return self.predictor(depth, center)
        except Dor3dError as error:
            return error

    def _write_overlay(self, name: str, depth: ndarray, hands: list[Hand]) -> None:
        picture = overlay(in_mm(depth, self.predictor.camera), hands, self.predictor.joints)
        write_whole(self.options.out / "overlay" / f"{name}.png", png(picture))

    def _tracked(self, tracker: Tracker, number: int, frame: Frame, depth: ndarray) -> list[Hand]:
        """The next frame of a stream; those of another folder, or file, are another one."""
        source = Path(frame.name) if frame.many else Path(frame.name).parent
        if self._stream is None or self._stream[0] != source:
            self._stream = source, number
            tracker.reset()
        return tracker(depth, (number - self._stream[1]) / self.options.rate)

    def _name(self, frame: Frame) -> str:
        name = Path(frame.name).stem + (f"_{frame.index:04d}" if frame.many else "")
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}-{self._names[name]}"  # a/1.png and b/1.png

    def _show(self, *, done: bool = False) -> None:
        """A counter on a terminal, twice a second."""
        now = time.perf_counter()
        if sys.stderr.isatty() and (done or now - self._shown > 0.5):
            self._shown = now
            sys.stderr.write("\r\033[K" if done else f"\r{count_of(self.summary.frames, 'frame')} ...")
            sys.stderr.flush()


def _depth(frame: Frame) -> ndarray:
    if isinstance(frame.depth, Dor3dError):
        raise frame.depth
    return frame.depth


def _groups(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """So many at a time, and the rest."""
    source = iter(items)
    while group := list(islice(source, most)):
        yield group


def overlay(depth_mm: ndarray, hands: Sequence[Hand], joints: Sequence[str]) -> ndarray:
    """A picture (RGB) of these hands over their frame (mm)."""
    around = float(hands[0].joints_mm[:, 2].mean()) if hands else None
    return draw_hands(depth_mm, [hand.joints_px for hand in hands], joints, around_mm=around)


class _Centers:
    """Where the hands are, if the user says so: one place for all frames, or one of each from a file."""

    def __init__(self, options: Options) -> None:
        if options.center is not None and options.centers is not None:
            raise InputError("Give --center or --centers, not both")
        self.one: list[float] | None = None
        self.file = options.centers
        self.in_order: list[list[float]] = []
        self.by_name: dict[str, list[float]] = {}
        self._used = 0
        if options.center is not None:
            self.one = numbers(options.center, (3,), "--center", "X,Y,Z in mm")
        elif self.file is not None:
            for name, center in _read_centers(self.file):
                if name:
                    self.by_name[name] = center
                else:
                    self.in_order.append(center)
            if bool(self.by_name) == bool(self.in_order):
                raise InputError(f"{self.file} has no centres that fit together", expected="every line named, or none")

    def of(self, number: int, frame: Frame) -> list[float] | None:
        if self.one is not None or self.file is None:
            return self.one
        if self.by_name:
            center = self.by_name.get(frame.name) or self.by_name.get(Path(frame.name).name)
        else:
            center = self.in_order[number] if number < len(self.in_order) else None
            self._used = number + 1
        if center is None:
            raise InputError(f"No centre for this frame in {self.file}")
        return center

    def check_all_used(self) -> None:
        """Warn when a file of centres has more lines than there were frames: it is probably another set's."""
        if self.in_order and self._used < len(self.in_order):
            more = len(self.in_order) - self._used
            print(f"warning: {self.file} has {count_of(more, 'centre')} more than there are frames", file=sys.stderr)


def _read_centers(path: Path) -> Iterator[tuple[str, list[float]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read", got=getattr(error, "strerror", None) or error) from None
    for number, line in enumerate(text.splitlines(), 1):
        parts = [part for part in re.split(r"[,\s]+", line.partition("#")[0].strip()) if part]
        if not parts:
            continue
        try:
            center = [float(part) for part in parts[-3:]]
        except ValueError:
            center = []
        if len(center) != 3 or len(parts) > 4:
            raise InputError(
                f"{path}, line {number} cannot be read", got=line.strip()[:80], expected="[frame] x y z in mm"
            )
        yield (parts[0] if len(parts) == 4 else ""), center
