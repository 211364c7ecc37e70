"""Hands followed over a stream of frames: looked for once, then seen where they were a moment ago.

A frame costs one look a hand. What a look says is what the next crop is centred on, as it is; what users get is
filtered, with bones of one length. A hand is lost when its crop shows none; it is looked for again in the same frame.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.predict.look import Aim, Look, Place, View
from dor3d.predict.predictor import Hand, Predictor, belief, hand_of
from dor3d.predict.steady import BoneLengths, CalmFilter
from dor3d.skeleton import JOINTS

LOST: Final = 0.25  # a hand that is followed is lost below this confidence, or the one that it takes to be followed
_APART_MM: Final = 70.0  # two hands whose middles are nearer are one
_PAUSE_S: Final = 0.5  # after so long a gap nothing is where it was
_FARTHEST_MM: Final = 120.0  # a hand is not expected to move farther from frame to frame
_EVERY: Final = 10  # frames between looks for more hands, while one is followed
_KEEP: Final = 0.95  # of what was known of a hand's side, a frame
_SURE: Final = 8.0  # log-odds of a side, at most
_TURN: Final = 2.0  # log-odds that it takes to be the other side's hand after all


@dataclass
class _Followed:
    """A hand on its way.

    Attributes:
        look: the last one.
        right: log-odds of a right hand, over the frames so far.
        speed: of its middle, mm/s.
        smooth, bones: of what users get.
    """

    look: Look
    right: float
    speed: Float[ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    smooth: CalmFilter = field(default_factory=CalmFilter)
    bones: BoneLengths = field(default_factory=BoneLengths)

    @property
    def is_left(self) -> bool:
        return self.look.box.mirrored

    def expected(self, seconds: float) -> Place:
        """Where its middle will be."""
        step = self.speed * seconds
        step *= min(1.0, _FARTHEST_MM / max(float(np.linalg.norm(step)), 1e-6))
        x, y, z = (np.array(self.look.middle_mm) + step).tolist()
        return x, y, max(z, 1.0)

    def see(self, look: Look, seconds: float) -> None:
        """Take in the next look."""
        moved = (np.array(look.middle_mm) - np.array(self.look.middle_mm)) / seconds
        self.speed, self.look = 0.5 * self.speed + 0.5 * moved, look
        if look.right is not None and math.isfinite(self.right):
            self.right = min(max(_KEEP * self.right + (1 - _KEEP) * 3 * look.right, -_SURE), _SURE)

    def as_hand(self, seconds: float, *, steady: bool) -> Hand:
        """What users get of it; `seconds` since the last time, 0 at first."""
        if not steady:
            return hand_of(self.look, self.right)
        joints = self.smooth(self.look.joints_mm, seconds)
        if len(joints) == len(JOINTS):
            joints = self.bones(joints, self.look.confidence)
        return hand_of(self.look._replace(joints_mm=joints), self.right)


class Tracker:
    """Follows hands over a stream of one camera's frames.

    Args:
        predictor: that looks; how often it does at first is its own `passes`, and a hand is followed from its own
            `least_confidence` on.
        most: hands that are followed at a time.
        steady: filter joints, and keep bones' lengths.
        rate_hz: frames a second, where frames come without a time.

    Raises InputError for a rate or a number of hands that is not positive.
    """

    def __init__(self, predictor: Predictor, *, most: int = 1, steady: bool = True, rate_hz: float = 30.0) -> None:
        if most < 1:
            raise InputError("At least one hand must be followed", got=most)
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise InputError("The rate must be positive", got=rate_hz, expected="frames a second")
        self.predictor, self.most, self.steady, self.rate_hz = predictor, most, steady, rate_hz
        self._hands: list[_Followed] = []
        self._last_s: float | None = None
        self._unsought = 0  # frames since hands were last looked for

    def reset(self) -> None:
        """Forget all hands: the next frame is a stream's first."""
        self._hands, self._last_s, self._unsought = [], None, 0

    def __call__(self, depth: Num[ndarray, "h w"], seconds: float | None = None) -> list[Hand]:
        """The hands in the stream's next frame, the longest followed first; empty when there is none.

        Args:
            depth: as for `Predictor`.
            seconds: when it was taken, on any clock that goes forward; without it frames come at `rate_hz`. A time that
                is not after the last one's begins anew, as after `reset`.

        Raises FrameError for what is no depth frame, CameraError for one of another camera's size, and InputError for a
        time that is not finite; the hands that are followed are not lost by it.
        """
        unit = self.predictor.checked(depth)
        passed = self._passed(seconds)
        self._follow(depth, unit, passed)
        self._unsought += 1
        if len(self._hands) < self.most and (not self._hands or self._unsought >= _EVERY):
            self._seek(depth, unit)
        return [hand.as_hand(passed, steady=self.steady) for hand in self._hands]

    def _passed(self, seconds: float | None) -> float:
        """Seconds since the last frame; 0 for a first one, which forgets all hands."""
        if seconds is not None and not math.isfinite(seconds):
            raise InputError("A frame's time must be finite", got=seconds, expected="seconds")
        if seconds is None:
            seconds = (self._last_s or 0.0) + 1 / self.rate_hz
        passed = 0.0 if self._last_s is None else seconds - self._last_s
        if not 0 < passed <= _PAUSE_S:
            self.reset()
            passed = 0.0
        self._last_s = seconds
        return passed

    def _follow(self, depth: Num[ndarray, "h w"], unit_mm: float, passed: float) -> None:
        """Look at each hand where it should be by now; those that are not there are lost."""
        looker = self.predictor.looker
        aims = (
            Aim(hand.expected(passed), self._is_left(hand), looker.after(hand.look).rotation) for hand in self._hands
        )
        looks = looker.many([View(depth, unit_mm, aim) for aim in aims])
        kept: list[_Followed] = []
        least = min(LOST, self.predictor.least_confidence)
        for hand, look in zip(self._hands, looks, strict=True):
            if look is not None and look.confidence >= least and _is_apart(look, kept):
                hand.see(look, passed)
                kept.append(hand)
        self._unsought = self._unsought if len(kept) == len(self._hands) else _EVERY
        self._hands = kept

    def _is_left(self, hand: _Followed) -> bool:
        """Which hand to look for: the one that it was, until the other is likely."""
        if self.predictor.hand != "auto":
            return self.predictor.hand == "left"
        return hand.right < _TURN if hand.is_left else hand.right < -_TURN

    def _seek(self, depth: Num[ndarray, "h w"], unit_mm: float) -> None:
        """Look for hands that are not followed yet."""
        self._unsought = 0
        for where in self.predictor.find(depth, unit_mm):
            if len(self._hands) == self.most:
                break
            if any(math.dist(where.center_mm, hand.look.middle_mm) < _APART_MM for hand in self._hands):
                continue
            (seen,) = self.predictor.looks([(depth, unit_mm, where.center_mm)])
            if seen is None:
                continue
            look, right = seen
            if belief(where, look) >= self.predictor.least_confidence and _is_apart(look, self._hands):
                self._hands.append(_Followed(look, right))


def _is_apart(look: Look, others: list[_Followed]) -> bool:
    return all(math.dist(look.middle_mm, other.look.middle_mm) > _APART_MM for other in others)
