"""What every head takes and returns."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Maps(NamedTuple):
    """What a head reads of a batch of crops.

    Attributes:
        xy, z: feature maps for the coordinates in the plane and for the depth; the same one where there is but one.
        crop: the network's input, for heads that look at the pixels again.
    """

    xy: Float[Tensor, "b f h h"]
    z: Float[Tensor, "b f h h"]
    crop: Float[Tensor, "b 1 s s"]


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
