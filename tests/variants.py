"""Variants of the network that every contract is tested with."""

from typing import Any

HEADS: dict[str, dict[str, Any]] = {
    "ordinal": {},
    "offset": {"head": "offset"},
    "monotone": {"monotone": True},
    "learned": {"positions": "learned"},
    "ordinal on the neck": {"level": "neck"},
    "anchors": {"head": "offset", "level": "last", "anchors": 4},
    "pixel-offset": {"head": "pixel-offset"},
    "heatmap": {"head": "heatmap"},
    "coordinate": {"head": "coordinate"},
}
ORDINAL = ("ordinal", "monotone", "learned", "ordinal on the neck")
