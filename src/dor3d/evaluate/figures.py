"""The paper's figures, and ours, for any model and any set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import Benchmark
from dor3d.data.sample import DepthSet
from dor3d.data.sets import check_source, open_set
from dor3d.data.testsets import CLEAR_COUNT, clear
from dor3d.errors import InputError
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.crops import Crops, Network, found_in, last_crops, rendered_crops, run_on, set_crops
from dor3d.evaluate.maps import departure, disagreement, joint_maps
from dor3d.evaluate.run import LOCATE, looks_of, open_model, shared_joints
from dor3d.evaluate.truth import read_truth
from dor3d.files import write_whole
from dor3d.geometry.crop import center_of_joints
from dor3d.model.checkpoint import load_model
from dor3d.model.network import HandNet, ModelConfig
from dor3d.ordinal import Discretisation, decode
from dor3d.runtime.base import CropModel, CropOutput
from dor3d.viz import diagrams
from dor3d.viz.figures import calibration, discretisations
from dor3d.viz.maps import MapRow, regression_maps
from dor3d.viz.overlay import png
from dor3d.viz.sheet import crop_errors_mm, sample_sheet

FigureName = Literal["1", "2", "3", "4", "6", "calibration"]
_CASES: Final = (5, 20, 35, 50, 75, 90, 97, 100)  # per cent of the frames that are no worse
_BATCH: Final = 64
_Z_MM: Final = 300.0


@dataclass(frozen=True)
class Request:
    """What to draw from.

    Attributes:
        models: run folders, or (6, calibration) shipped models and ONNX files; each may be NAME=PLACE.
        dataset: `synthetic` (the frozen set `clear`), or a set of `SETS`.
        root: the set's folder.
        truths: NAME=FILE, true poses of benchmarks whose depths Figure 4 shows beside rendered hands'.
        joint: that Figures 1 and 3 show.
        frames: looked at, at most.
        centers: where crops are centred, for a set.
        out: folder.
        split: of the set; None: the one that is scored.
    """

    models: Sequence[str] = ()
    dataset: str = "synthetic"
    root: Path | None = None
    truths: Sequence[str] = ()
    joint: str = "index_tip"
    frames: int = 256
    centers: str = "mass"
    out: Path = Path("dor3d-figures")
    split: str | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError("There must be at least one frame to show", got=f"--frames {self.frames}")
        check_source(self.dataset, self.root)

    def named_models(self) -> dict[str, str]:
        """The models' places by their names; raises InputError for two of one name."""
        pairs = [model.rpartition("=") for model in self.models]
        named = {name or _file_stem(place): place for name, _, place in pairs}
        if len(named) < len(pairs):
            raise InputError("Two models have the same name", got=list(self.models), fix="Name them: NAME=PLACE.")
        return named

    def open_frames(self) -> DepthSet | None:
        """The set's frames; None for rendered ones."""
        return None if self.dataset == "synthetic" else open_set(self.dataset, self.root or Path(), self.split)


def _file_stem(place: str) -> str:
    """A run folder's or a file's name; dots in a folder's are its own, as in a learning rate."""
    path = Path(place)
    return path.stem if path.suffix in (".onnx", ".safetensors") else path.name


def make_figures(names: Sequence[FigureName], request: Request) -> list[Path]:
    """Draw figures; returns their paths. Raises InputError for what a figure lacks, and where none is named."""
    draw = {
        "1": figure_1,
        "2": figure_2,
        "3": figure_3,
        "4": figure_4,
        "6": figure_6,
        "calibration": figure_calibration,
    }
    if not names:
        raise InputError("It is not said which figures", expected=f"some of {', '.join(draw)}")
    return [draw[name](request) for name in names]


def figure_1(request: Request) -> Path:
    """Maps of each model for one joint of the frame whose error is the median, and how noisy they are."""
    nets = _nets(request, "1")
    first = next(iter(nets.values())).config
    if len({(net.config.size, net.config.cube_mm, net.config.joints) for net in nets.values()}) > 1:
        raise InputError("Figure 1 shows one crop, and the models take different ones", fix="Name models of one input.")
    joint = _joint(request.joint, first.joints)
    crops = _crops(request, first)
    points = {name: _points(net, crops.images) for name, net in nets.items()}
    scale = first.cube_mm[0] / first.size
    errors = np.mean([crop_errors_mm(crops.points, said, scale) for said in points.values()], 0)
    frame = int(np.argsort(errors)[len(errors) // 2])
    rows = []
    for name, net in nets.items():
        every = [joint_maps(net, *pair) for pair in zip(crops.images, crops.points, strict=True)]
        maps = every[frame]
        noise = np.array([[measure(each) for each in every] for measure in (departure, disagreement)])
        own = maps.x[joint], maps.ideal_x[joint], maps.y[joint], maps.ideal_y[joint]
        numbers = noise[:, frame, joint], noise.mean((1, 2))
        said, true = points[name][frame, joint, :2], crops.points[frame, joint, :2]
        rows.append(MapRow(name, said, true, own, maps.seen, maps.probability, numbers))
    return regression_maps(crops.images[frame], rows, request.joint, request.out / "figure_1.png")


def figure_2(request: Request) -> Path:
    """The feature extractor of a model, or of the paper's Swin-B."""
    net = _one_net(request)
    config = net.config
    crop = _crops(request, config, 1).images[0]
    place = request.out / "figure_2.png"
    return diagrams.extractor(crop, config.backbone, _stages(net), two_maps=net.two_maps, out=place)


def figure_3(request: Request) -> Path:
    """The ordinal head of a model at work on one joint of the first frame."""
    nets = {name: net for name, net in _nets(request, "3").items() if net.config.head == "ordinal"}
    if not nets:
        raise InputError("Figure 3 shows an ordinal head, and none of the models has one", got=list(request.models))
    net = next(iter(nets.values()))
    config = net.config
    joint = _joint(request.joint, config.joints)
    crop = _crops(request, config, 1).images[0]
    with torch.no_grad():
        found = net(torch.from_numpy(crop)[None, None])
    x, y, z = (axis[0, joint].sigmoid().numpy() for axis in found.logits)
    read = tuple(decode(p, disc) for p, disc in zip((x, y, z), config.discretisations(), strict=True))
    said, weighted = found.points[0, joint].numpy(), config.positions == "learned"
    example = diagrams.OrdinalExample(request.joint, x, y.T, z, read, said, weighted)
    return diagrams.ordinal_head(example, request.out / "figure_3.png")


def figure_4(request: Request) -> Path:
    """Where joints lie in depth, and the thresholds of uniform and normal discretisation."""
    depths = {"rendered": _z_in_crop(np.array([clear().draw(i)[1].joints_mm for i in range(request.frames)]))}
    for given in request.truths:
        name, equals, file = given.partition("=")
        if not equals:
            raise InputError(
                "A file of true poses needs its benchmark", got=given, expected="NAME=FILE, as nyu=truth.txt"
            )
        benchmark = Benchmark.named(name)
        poses = read_truth(benchmark, Path(file))
        depths[benchmark.title] = _z_in_crop(poses.in_camera(poses.systems(benchmark.camera)[0], benchmark.camera))
    count = round(_Z_MM / 4)
    choices = {
        "uniform": Discretisation.uniform(_Z_MM, count),
        **{f"normal, L = {n}": Discretisation.normal(_Z_MM, count, n) for n in (3, 4)},
    }
    return discretisations(depths, choices, request.out / "figure_4.png", "z", "mm")


def figure_6(request: Request) -> Path:
    """Predictions over truth, from good to bad: frames at set places in the order of their errors."""
    name, model = next(iter(_models(request).items()))
    network, crops, joints = _shared(request, model)
    said, _ = run_on(network, crops.images)
    scale = model.card.cube_mm[0] / model.card.size
    order = np.argsort(crop_errors_mm(crops.points, said, scale))
    frames = order[[round(percent / 100 * (len(order) - 1)) for percent in _CASES]]
    title = f"{name}: errors at {', '.join(map(str, _CASES))} % of {len(order)} frames"
    parts = crops.images[frames], crops.points[frames], said[frames], joints
    sheet = sample_sheet(*parts, mm_per_pixel=scale, title=title, mean=False)
    return write_whole(request.out / "figure_6.png", png(sheet))


def figure_calibration(request: Request) -> Path:
    """What models say of their errors against what these are."""
    curves: dict[str, Any] = {}
    for name, model in _models(request).items():
        network, crops, _ = _shared(request, model)
        predicted, true, sigma = found_in(network, crops)
        found = calibrate(predicted - true, sigma)
        label = f"{name}: rank {found.joint_rank:.2f} (joints), {found.hand_rank:.2f} (hands)"
        curves[label] = np.array(found.sigma_mm), np.array(found.rms_mm)
    return calibration(curves, request.out / "calibration.png")


# ---- models and crops ----------------------------------------------------------------------------------------------
def _nets(request: Request, figure: str) -> dict[str, HandNet]:
    places = request.named_models()
    if not places or not all(Path(place).is_dir() for place in places.values()):
        got = list(request.models) or "none"
        raise InputError(f"Figure {figure} looks inside networks", got=got, expected="run folders, with --models")
    return {name: load_model(Path(place)) for name, place in places.items()}


def _one_net(request: Request) -> HandNet:
    if request.models:
        return next(iter(_nets(request, "2").values()))
    return HandNet(ModelConfig(backbone="swin-b", size=224, cube_mm=(300.0, 300.0), labels="hard")).eval()


def _models(request: Request) -> dict[str, CropModel]:
    return {name: open_model(place) for name, place in (request.named_models() or {"compact": "compact"}).items()}


def _joint(name: str, joints: Sequence[str]) -> int:
    if name not in joints:
        raise InputError("The models have no such joint", got=name, expected=f"one of {', '.join(joints)}")
    return list(joints).index(name)


def _shared(request: Request, model: CropModel) -> tuple[Network, Crops, Sequence[str]]:
    """What a model says of the joints that the set has too, the crops that it sees at last, and these joints."""
    frames, own = request.open_frames(), model.card.joints
    joints = own if frames is None else shared_joints(model, frames)
    columns = [own.index(name) for name in joints]

    def network(crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        said = model(crops)
        return CropOutput(said.points[:, columns], said.sigma[:, columns])

    first = _crops_of(request, frames, model.card.size, model.card.cube_mm, joints)
    looks = looks_of(model, located=frames is not None and request.centers == LOCATE)
    return network, last_crops(model, first, looks), joints


def _crops(request: Request, config: ModelConfig, count: int | None = None) -> Crops:
    """Crops of the set for a network, which must give no other joints than the set has."""
    frames = request.open_frames()
    if foreign := [name for name in config.joints if frames is not None and name not in frames.joints]:
        raise InputError(f"{request.dataset} has no joint {foreign[0]}, which the networks give")
    return _crops_of(request, frames, config.size, config.cube_mm, config.joints, count)


def _crops_of(
    request: Request,
    frames: DepthSet | None,
    size: int,
    cube_mm: tuple[float, float],
    joints: Sequence[str],
    count: int | None = None,
) -> Crops:
    count = count or request.frames
    if frames is None:
        return rendered_crops(clear(size, cube_mm), range(min(count, CLEAR_COUNT)), joints)
    return set_crops(frames, request.centers, count, size, cube_mm, joints)


@torch.no_grad()
def _points(net: HandNet, images: Float[ndarray, "n s s"]) -> Float[ndarray, "n a 3"]:
    parts = torch.from_numpy(images)[:, None].split(_BATCH)
    return torch.cat([net(part).points for part in parts]).numpy()


@torch.no_grad()
def _stages(net: HandNet) -> list[diagrams.Stage]:
    """The maps that a backbone leaves at each stride, from the finest, its last one included."""
    size, found = net.config.size, dict[int, diagrams.Stage]()
    x = torch.zeros(1, net.trunk.in_channels, size, size)
    for block in net.trunk.early:
        x = block(x)
        shape = x.permute(0, 3, 1, 2).shape if net.trunk.maps_are_nhwc else x.shape
        found[shape[2]] = diagrams.Stage(shape[2], shape[1])
    found[net.trunk.grid] = diagrams.Stage(net.trunk.grid, net.trunk.channels)
    return [found[side] for side in sorted(found, reverse=True) if side <= size // 4]


def _z_in_crop(joints_mm: Float[ndarray, "n a 3"]) -> Float[ndarray, "m"]:
    """Depths of joints in crops that are centred on the middle of the joints."""
    return (joints_mm[..., 2] - center_of_joints(joints_mm)[:, None, 2] + _Z_MM / 2).ravel()
