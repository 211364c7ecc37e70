"""The network that finds hands in whole frames: its input, what it is taught, and the stream that it learns from."""

import numpy as np
import pytest
import torch

from dor3d.data.rooms import LEAST_SEEN, RoomBatch, Rooms
from dor3d.geometry import Pinhole
from dor3d.geometry.grid import CELL, coarse_grid
from dor3d.hand.room import RoomConfig
from dor3d.model.locator import Locator, LocatorConfig, Sights, inputs
from dor3d.predict.sights import sightings
from dor3d.train.locator_loss import locator_loss


@pytest.mark.parametrize("name", ["d435-640", "kinect2", "icvl", "azure-kinect", "l515"])
def test_convention_coarse_grid(name):
    """A grid's camera sees a cell where the frame's camera sees the cell's pixel; nothing is averaged."""
    camera = Pinhole.preset(name)
    grid = coarse_grid(camera, camera.width, camera.height)
    assert len(grid.columns) <= 160 and len(grid.rows) <= 120
    frame = np.arange(camera.height * camera.width, dtype=np.float32).reshape(camera.height, camera.width)
    assert np.array_equal(grid.of(frame), frame[grid.rows[:, None], grid.columns])
    point = np.array([30.0, -20.0, 600.0])
    u, v = grid.camera.project(point)
    assert np.allclose(camera.project(point), (grid.columns[0] + u * grid.step, grid.rows[0] + v * grid.step))


def test_rooms_say_where_hands_are():
    source = Rooms(RoomConfig(), 0)
    samples, batch = [source.sample(i) for i in range(30)], source.batch(0, range(30))
    assert batch.depth.shape == (30, 1, 120, 160) and batch.depth.dtype == torch.float32
    assert batch.there.any(1).float().mean() > 0.5 and not batch.there.any(1).all()
    for i, sample in enumerate(samples):
        assert batch.asked[i].sum() == sum(hand.seen >= LEAST_SEEN for hand in sample.room.hands)
        for k, hand in enumerate(sample.room.hands):
            lens = sample.grid.camera
            middle = lens.unproject(batch.hands[i, k, :2].numpy(), batch.hands[i, k, 2].numpy())
            low, high = hand.joints_mm.min(0), hand.joints_mm.max(0)
            assert np.allclose(middle, (low + high) / 2, atol=0.1)


def _batch(hands, asked=(True,)):
    count = len(hands)
    places = torch.zeros(1, 4, 3)
    places[0, :count] = torch.tensor(hands)
    flags = [torch.zeros(1, 4, dtype=torch.bool) for _ in range(2)]
    flags[0][0, :count], flags[1][0, :count] = torch.tensor(asked), True
    return RoomBatch(torch.full((1, 1, 120, 160), 800.0), torch.tensor([1 / 120]), places, *flags)


def _perfect(batch):
    """What a locator should say of each cell."""
    x, y = torch.meshgrid(torch.arange(40) * CELL + 1.5, torch.arange(30) * CELL + 1.5, indexing="xy")
    heat = torch.full((1, 30, 40), -20.0)
    offset, depth, nearest = torch.zeros(1, 2, 30, 40), torch.zeros(1, 30, 40), torch.full((30, 40), 1e9)
    for k in torch.nonzero(batch.asked[0])[:, 0]:
        u, v, z = batch.hands[0, k]
        apart = (x - u) ** 2 + (y - v) ** 2
        heat[0].view(-1)[apart.argmin()] = 20.0
        mine = apart < nearest
        nearest = torch.minimum(nearest, apart)
        offset[0, 0][mine], offset[0, 1][mine] = (u - x)[mine], (v - y)[mine]
        depth[0][mine] = (z / 600.0).log()
    return Sights(heat, offset, depth)


def test_who_says_the_truth_has_no_loss():
    batch = _batch([[40.0, 60.0, 500.0], [120.0, 30.0, 900.0]], (True, True))
    loss = locator_loss(_perfect(batch), batch)
    assert loss.total < 1e-3


def test_hands_are_read_back_from_what_is_said():
    """Middles to a tenth of a millimetre, the surest first, and one peak a hand."""
    camera = Pinhole(480.0, 480.0, 320.0, 240.0, 640, 480)
    grid = coarse_grid(camera, 640, 480)
    true = np.array([[-90.0, 40.0, 500.0], [200.0, -60.0, 900.0]])
    hands = [[*grid.camera.project(p).tolist(), p[2]] for p in true]
    said = [part[0].numpy() for part in _perfect(_batch(hands, (True, True)))]
    said[0][said[0] == 20.0] = (3.0, 8.0)  # two cells, in the order of rows: the second hand's comes first
    found = sightings(*said, grid)
    assert np.allclose([hand.center_mm for hand in found], true, atol=0.1)
    assert found[0].confidence > found[1].confidence > 0.9
    assert len(sightings(*said, grid, most=1)) == 1 and len(sightings(*said, grid, least=0.97)) == 1
    row, column = np.argwhere(said[0] == 8.0)[0]
    said[0][row, column + 3] = 7.0  # a second peak of the same hand
    assert len(sightings(*said, grid)) == 2


@pytest.mark.parametrize("part", ["heat", "offset", "depth"])
def test_each_answer_is_asked_for(part):
    batch = _batch([[40.0, 60.0, 500.0]])
    said = _perfect(batch)
    wrong = said._replace(**{part: -getattr(said, part) + (5.0 if part == "offset" else 0.3)})
    assert locator_loss(wrong, batch).total > 0.3


def test_of_a_hand_that_is_hardly_seen_nothing_is_asked():
    batch = _batch([[40.0, 60.0, 500.0]], asked=(False,))
    found, missed = _perfect(batch._replace(asked=batch.there)), _perfect(batch)
    assert locator_loss(found, batch).total < 1e-3 and locator_loss(missed, batch).total < 1e-3


@pytest.mark.parametrize("focal", [60.0, 240.0])
def test_convention_inputs(focal):
    """Seen or not, log of distance and of a hand's size on the grid, and slopes in mm a mm whatever the camera."""
    columns = torch.arange(160.0)
    rays = (columns - 80) / focal
    depth = (600.0 / (1 - 0.5 * rays)).expand(1, 1, 120, 160).clone()  # z = 600 + 0.5 x
    depth[..., :10, :] = 0
    seen, far, large, right, down = inputs(depth, torch.tensor([1 / focal]))[0]
    assert seen[:10].max() == 0 and seen[10:].min() == 1
    assert far[50, 80].item() == pytest.approx(0.0, abs=1e-6)
    assert large[50, 80].item() == pytest.approx(np.log(100.0 / (600.0 / focal * 20.0)), rel=1e-4)
    # along a row x grows by z / focal and by what z grows: dz / (z / focal) = 0.5 / (1 - 0.5 ray)
    expected = 0.5 / (1 - 0.5 * rays)
    assert torch.allclose(right[50, :-1], expected[:-1], rtol=0.05)  # forward differences
    assert down[20:-1].abs().max() < 1e-5 and right[:10].abs().max() == 0


def test_a_locator_that_knows_nothing_says_how_far_the_surface_is():
    """Of a cell's own readings, of those around it where it has none, and the usual distance where nothing is."""
    depth = torch.full((1, 1, 120, 160), 800.0)
    depth[..., 40:44, 60:64] = 0
    depth[..., 80:, :] = 0
    net = Locator(LocatorConfig(width=4, merged=8)).eval()
    torch.nn.init.zeros_(net.answers.weight)
    torch.nn.init.zeros_(net.answers.bias)
    said = 600 * net(depth, torch.tensor([1 / 120])).depth.exp()[0]
    assert torch.allclose(said[:20], torch.tensor(800.0)) and torch.allclose(said[22:], torch.tensor(600.0))


def test_a_locator_learns_one_frame_by_heart():
    torch.manual_seed(0)
    source = Rooms(RoomConfig(hands=(0.0, 1.0, 0.0)), 3)
    batch = source.batch(0, [i for i in range(12) if source.sample(i).room.hands[0].seen > 8][:4])
    net = Locator(LocatorConfig(width=8, merged=16))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(150):
        loss = locator_loss(net(batch.depth, batch.pitch), batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert loss.heat < 0.2 and loss.depth < 0.01
    said = net(batch.depth, batch.pitch)
    for i, heat in enumerate(said.heat):
        row, column = divmod(int(heat.argmax()), 40)
        found = np.array([column, row]) * CELL + 1.5 + said.offset[i, :, row, column].detach().numpy()
        assert np.linalg.norm(found - batch.hands[i, 0, :2].numpy()) < 3.0
