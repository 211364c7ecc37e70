"""The demo's page: one HTML file with its pictures inside, no scripts, nothing loaded from elsewhere.

Its style, and how it holds its pictures, are those of the other pages too.
"""

import base64
import html
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from dor3d import __version__
from dor3d.viz.overlay import FINGER_COLOURS


class PageFrame(NamedTuple):
    """One frame of the page."""

    name: str
    picture: bytes  # PNG of the whole frame
    close_up: bytes  # PNG of the hand; empty without one
    aspect: float  # width over height of the frame
    error_mm: float | None  # mean over the joints; None: no hand was found
    handedness: str
    std_mm: float  # what the network expects its error to be


class PageNumbers(NamedTuple):
    """What the page says about the model."""

    model: str
    frames_per_s: float  # depth array to joints
    network_per_s: float  # frames/s of the network alone


def demo_page(frames: Sequence[PageFrame], numbers: PageNumbers) -> str:
    """The page as HTML text."""
    errors = [frame.error_mm for frame in frames if frame.error_mm is not None]
    mean = f"{sum(errors) / len(errors):.1f} mm" if errors else "–"
    tiles = [
        (mean, f"mean joint error over {len(errors)} of {len(frames)} frames, against the rendered truth"),
        (f"{numbers.frames_per_s:.0f} /s", "frames from depth array to joints, on this machine"),
        (f"{numbers.network_per_s:.0f} /s", "frames in the network alone"),
        (html.escape(numbers.model), "model"),
    ]
    return _PAGE.format(
        style=STYLE,
        version=__version__,
        legend="".join(_legend(name, colour) for name, colour in FINGER_COLOURS.items()),
        tiles="".join(f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in tiles),
        cards="".join(_card(frame) for frame in frames),
        rows="".join(_row(frame) for frame in frames),
    )


def _legend(name: str, colour: tuple[int, int, int]) -> str:
    return f'<span><i style="background:rgb{colour}"></i>{name}</span>'


def _card(frame: PageFrame) -> str:
    name = html.escape(frame.name)
    pictures = _image(frame.picture, frame.aspect, f"joints over depth frame {name}")
    if frame.close_up:
        pictures += _image(frame.close_up, 1.0, f"the hand in {name}")
    return (
        f'<figure><div class="pair">{pictures}</div>'
        f"<figcaption><span>{name}</span><b>{_mm(frame.error_mm)}</b></figcaption></figure>"
    )


def _image(picture: bytes, aspect: float, what: str) -> str:
    return f'<img style="flex: {aspect:.3f} 1 0" src="{embedded(picture)}" alt="{what}">'


def embedded(picture: bytes) -> str:
    """A PNG as an address that holds the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _row(frame: PageFrame) -> str:
    cells = (html.escape(frame.name), html.escape(frame.handedness), _mm(frame.error_mm), _mm(frame.std_mm))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _mm(value: float | None) -> str:
    return "no hand" if value is None else "–" if math.isnan(value) else f"{value:.1f} mm"


STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2024; --dim: #60666d; --back: #f6f7f8; --card: #ffffff; --line: #dfe2e5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8ea; --dim: #9aa1a8; --back: #121416; --card: #1b1e21; --line: #2e3337; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 34px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 8px; font-weight: 650; }
h2 { font-size: 20px; margin: 48px 0 14px; font-weight: 620; letter-spacing: -0.01em; }
p { margin: 0 0 12px; max-width: 74ch; color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 14px; margin-top: 28px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; font-weight: 640; letter-spacing: -0.01em; }
.tile span { color: var(--dim); font-size: 14px; line-height: 1.4; display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; color: var(--dim); font-size: 14px; margin: 0 0 14px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 7px; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.pair { display: flex; gap: 1px; background: var(--line); }
.pair img { display: block; min-width: 0; object-fit: cover; background: #000; }
figcaption { display: flex; justify-content: space-between; padding: 9px 14px; font-size: 14px; }
figcaption span { color: var(--dim); }
td, .tile b, figcaption b { font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { text-align: right; padding: 9px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--dim); font-weight: 560; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin: 0;
  overflow-x: auto; font: 14px/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre span { color: var(--dim); }
footer { margin-top: 48px; color: var(--dim); font-size: 14px; }
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dor3d: the joints of a hand in depth frames</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>A depth frame in, 21 joints out</h1>
<p>These depth frames were rendered from a parametric hand with the faults of a real depth camera. For each, dor3d
searched the hand by itself, cropped it, ran the network, and mapped the joints back to the camera, in millimetres.
The network never saw these frames; the renderer knows where every joint is, so the error is measured, not judged.</p>
<div class="tiles">{tiles}</div>

<h2>Frames</h2>
<div class="legend">{legend}</div>
<div class="frames">{cards}</div>

<h2>Measured</h2>
<div class="table"><table>
<thead>
<tr><th>Frame</th><th>Hand</th><th>Mean error of the 21 joints</th><th>Spread the network states</th></tr>
</thead>
<tbody>{rows}</tbody>
</table></div>

<h2>Next</h2>
<pre><span># your own camera: 16-bit PNG or TIFF, .npy, .npz, or a folder of them</span>
dor3d predict frames/ --camera d435
<span># any other camera: its intrinsics in pixels, and what one depth unit is in mm</span>
dor3d predict frame.png --camera 476,476,314,243 --depth-unit-mm 0.125
<span># in Python</span>
from dor3d.predict import Predictor
hands = Predictor(camera="d435")(depth)  <span># hands[0].joints_mm is [21, 3]</span></pre>

<footer>dor3d {version}. The joints are in poses.jsonl, the pictures in overlay/, beside this page.</footer>
</main>
</body>
</html>
"""
