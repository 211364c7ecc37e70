"""Variants of the network that every contract is tested with."""

from typing import Any

from dor3d.model.heads.local_ordinal import LocalOrdinalOptions

HEADS: dict[str, dict[str, Any]] = {
    "ordinal": {},
    "offset": {"head": "offset"},
    "monotone": {"monotone": True},
    "learned": {"positions": "learned"},
    "ordinal on the neck": {"level": "neck"},
    "anchors": {"head": "offset", "level": "last", "anchors": 4},
    "offset from the surface": {"head": "offset", "depth_origin": "surface"},
    "local-ordinal": {"head": "local-ordinal", "depth_origin": "surface"},
    "local-ordinal dense": {"head": "local-ordinal", "local_ordinal": LocalOrdinalOptions("dense", monotone=True)},
    "pixel-offset": {"head": "pixel-offset"},
    "heatmap": {"head": "heatmap"},
    "coordinate": {"head": "coordinate"},
}
ORDINAL = ("ordinal", "monotone", "learned", "ordinal on the neck")
