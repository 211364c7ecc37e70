"""What every head returns."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Prediction(NamedTuple):
    """Joints of a batch of crops.

    Attributes:
        points: crop points (p px, q px, r mm).
        sigma: standard deviation of each coordinate, in the same units.
        logits: what an ordinal loss supervises, per axis (x, y, z): the log-odds that joint a lies beyond threshold k,
            seen from each position of the axis' map; empty for heads that have none.
    """

    points: Float[Tensor, "b a 3"]
    sigma: Float[Tensor, "b a 3"]
    logits: tuple[Float[Tensor, "b a _p _k"], ...] = ()
