"""Verbs that make and use a model: demo, predict, render, train, export."""

import math
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from dor3d.errors import InputError
from dor3d.verbs import spin_briefly

Side = Literal["auto", "left", "right"]
_PARITY_CROPS = 256
_CALIBRATION_CROPS = 64  # more change a quantised network's joints by little


def demo(out: Annotated[Path, arg(metavar="DIR")] = Path("dor3d-demo")) -> None:
    """Predict the hands in the frames that come with dor3d, and write a page to look at.

    Args:
        out: folder for the page, the overlays and poses.jsonl.
    """
    from dor3d.demo import run

    page = run(out)
    print(f"Open {page}")


def predict(
    inputs: Annotated[Positional[tuple[str, ...]], arg(name="INPUT", metavar="INPUT...")],
    camera: Annotated[str, arg(metavar="NAME|FX,FY,CX,CY|FILE")],
    depth_unit_mm: Annotated[float | None, arg(metavar="X")] = None,
    center: Annotated[str | None, arg(metavar="X,Y,Z")] = None,
    centers: Annotated[Path | None, arg(metavar="FILE")] = None,
    cube: Annotated[str | None, arg(metavar="MM[,MM]")] = None,
    hand: Side = "auto",
    model: Annotated[str, arg(metavar="NAME|FILE")] = "compact",
    backend: Annotated[str, arg(metavar="NAME")] = "auto",
    threads: Annotated[int | None, arg(metavar="N")] = None,
    locator: Annotated[str, arg(metavar="auto|rule|FILE")] = "auto",
    least_confidence: Annotated[float | None, arg(metavar="0..1")] = None,
    track: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    rate: Annotated[float, arg(metavar="HZ")] = 30.0,
    overlay: bool = True,
    out: Annotated[Path, arg(metavar="DIR")] = Path("dor3d-out"),
) -> None:
    """Find the 21 joints of the hand in depth frames; writes poses.jsonl and overlay/*.png.

    Args:
        inputs: depth frames: 16-bit PNG or TIFF, .npy, .npz (all its arrays of frames), or folders of these. Integers
            are in the camera's depth unit, floating-point values in mm; 0 means no reading.
        camera: a camera's name (d435, sr305, azure-kinect, ...), its intrinsics in pixels, or a JSON file of them.
        depth_unit_mm: mm per unit of the depth values, instead of the camera's own (of 1, for floating-point values).
        center: where the hand is, in mm in the camera frame (x right, y down, z away); without it the hand is looked
            for. The first crop is centred here, the next on the joints.
        centers: file with a line "x y z" or "frame x y z" for each frame, in mm.
        cube: side of the cube around the hand in mm, in the image plane and in depth; the model's own by default.
        hand: which hand it is, if you know.
        model: a shipped model's name or an ONNX file.
        backend: what runs the network: onnxruntime, openvino, openvino:bf16, torch-eager, ...; auto takes the fastest
            that is installed, by a short trial which is remembered.
        threads: of the networks; one a core by default.
        locator: what looks for hands: the network that ships, or else the nearest surface that may be one (auto); that
            rule alone; or a locator's ONNX file.
        least_confidence: leave out hands that were looked for and are less sure; 0.5 by default.
        track: the frames of a folder, in the order of their names, or of a file are a stream: hands are followed from
            frame to frame, keep the side that they are of, and are steadied.
        rate: frames a second of such a stream.
        overlay: draw the joints over each frame.
        out: folder for the results.
    """
    from dor3d.predict.batch import Options, predict_files
    from dor3d.predict.predictor import BELIEVED

    options = Options(
        camera=camera,
        depth_unit_mm=depth_unit_mm,
        center=center,
        centers=centers,
        cube=cube,
        hand=hand,
        model=model,
        backend=backend,
        threads=threads,
        overlay=overlay,
        out=out,
        locator=locator,
        least_confidence=BELIEVED if least_confidence is None else least_confidence,
        track=track,
        rate=rate,
    )
    summary = predict_files(inputs, options)
    print(summary.line(out))
    if summary.without and not summary.hands:
        print("No hand in any frame. If there is one: is the depth unit right (--depth-unit-mm), and the camera?")


def check(
    inputs: Annotated[Positional[tuple[str, ...]], arg(name="INPUT", metavar="INPUT...")],
    camera: Annotated[str, arg(metavar="NAME|FX,FY,CX,CY|FILE")],
    depth_unit_mm: Annotated[float | None, arg(metavar="X")] = None,
    hand: Side = "auto",
    hand_mm: Annotated[float, arg(metavar="MM")] = 0.0,
    model: Annotated[str, arg(metavar="NAME|FILE")] = "compact",
    locator: Annotated[str, arg(metavar="auto|rule|FILE")] = "auto",
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Look at a few frames of a camera, and say what seems wrong with them or with what is said of the camera.

    Args:
        inputs: depth frames, as predict takes them; best some seconds of a stream with a hand in it.
        camera: as predict takes it.
        depth_unit_mm: mm per unit of the depth values, instead of the camera's own (of 1, for floating-point values).
        hand: which hand was shown; images that are mirrored can be told by it.
        hand_mm: how long it is from the wrist's crease to the middle fingertip, by a ruler; tells a wrong scale.
        model: a shipped model's name or an ONNX file.
        locator: what looks for hands, as for predict.
        json: print the findings as one JSON object.
    """
    from dor3d.predict.check import check_files, findings_json, findings_text

    found = check_files(inputs, camera, depth_unit_mm, hand, hand_mm, model, locator)
    print(findings_json(found) if json else findings_text(found))


def render(
    count: Annotated[int, arg(metavar="N")],
    out: Annotated[Path, arg(metavar="DIR")],
    camera: Annotated[str, arg(metavar="NAME")] = "sr305",
    seed: Annotated[int, arg(metavar="S")] = 0,
) -> None:
    """Render depth frames of hands with their joints.

    Args:
        count: how many frames.
        out: folder for the frames.
        camera: whose frames they imitate.
        seed: frame i of a seed is always the same.
    """
    if count < 1:
        raise InputError("There must be at least one frame to render", got=f"--count {count}")
    from dor3d.data.synthetic import render_set

    render_set(count, camera, seed, out)
    print(f"{count} frames in {out}")


def train(
    recipe: Annotated[Positional[str], arg(name="RECIPE", metavar="RECIPE")],
    out: Annotated[Path | None, arg(metavar="DIR")] = None,
    seed: Annotated[int | None, arg(metavar="S")] = None,
    steps: Annotated[int | None, arg(metavar="N")] = None,
    checkpoint_every: Annotated[int | None, arg(metavar="N")] = None,
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    init: Annotated[Path | None, arg(metavar="FILE")] = None,
    init_matching: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    *,
    changes: tyro.conf.Suppress[dict[str, str] | None] = None,
) -> None:
    """Train a network. Any other field of the recipe can be set too: --key value.

    Args:
        recipe: the name of a recipe, such as synth-compact.
        out: folder of the run; runs/RECIPE by default.
        seed: of the initial weights and the data.
        steps: optimizer steps.
        checkpoint_every: steps between two checkpoints.
        resume: go on where the run in that folder stopped.
        init: weights to start from: a run folder, one of its states (checkpoints/step-*.safetensors: the weights as
            they were trained, where the folder's are averaged), or a safetensors file.
        init_matching: of --init take what matches by name and shape, such as the backbone of another head's network.
        changes: the recipe's other fields.
    """
    spin_briefly()
    from dor3d.train.start import start

    given = {"seed": seed, "steps": steps, "checkpoint_every": checkpoint_every}
    fields: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    folder = out or Path("runs") / recipe
    result = start(recipe, {**(changes or {}), **fields}, folder, resume=resume, init=init, init_matching=init_matching)
    if result.first:
        print(f"{folder}: step {result.step}" + ("" if result.finished else ", stopped; go on with --resume"))


def export(
    model: Annotated[Positional[Path], arg(name="MODEL", metavar="MODEL")],
    out: Annotated[Path, arg(metavar="FILE")],
    format: Literal["onnx", "openvino"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp16",
    calibrate: Annotated[int, arg(metavar="N")] = 2048,
    turns: Literal[1, 3, 5] = 1,
) -> None:
    """Turn a trained run into one file that predicts without the training stack.

    Args:
        model: a run folder.
        out: the file to write; of openvino the .xml, and its .bin comes beside it.
        format: its format.
        precision: of the weights in the file, which are computed with in float32 where they are fp16; int8 computes in
            integers. A file that answers otherwise than the network, beyond what its precision excuses, is not written.
        calibrate: held-out samples of the run that its standard deviations are fitted to; 0: leave them as they are.
        turns: how often the file looks at each crop, turned a little further each time, and takes the mean: better
            joints for so many times the work.
    """
    from dor3d.model.checkpoint import read_config

    if model.is_dir() and read_config(model).get("task") == "locate":
        from dor3d.runtime.export_locator import export_locator

        difference = export_locator(model, out)
        print(f"{out}: agrees with torch, at most {difference:.0%} as far off as it may be")
        return
    from dor3d.runtime.export import export_onnx
    from dor3d.runtime.export_openvino import check_place, export_openvino
    from dor3d.runtime.quantize import eight_bit_layers
    from dor3d.train.temperature import crops_of

    if format == "openvino":
        check_place(out)
    factors = _sigma_factors(model, calibrate, turns) if calibrate else (1.0, 1.0, 1.0)
    wanted = _PARITY_CROPS + (_CALIBRATION_CROPS if precision == "int8" else 0)
    crops = crops_of(model, wanted)
    seen = math.ceil(len(crops) * (wanted - _PARITY_CROPS) / wanted)  # a run may have held out fewer
    calibration, crops = crops[:seen], crops[seen:]
    options: dict[str, Any] = {"sigma_scale": factors, "turns": turns, "crops": crops, "calibration": calibration}
    with tempfile.TemporaryDirectory() as folder:
        file = out if format == "onnx" else Path(folder) / "model.onnx"
        stored = "fp32" if format == "openvino" and precision == "fp16" else precision
        told = f"joints are {export_onnx(model, file, precision=stored, name=out.stem, **options)} from PyTorch's"
        if precision == "int8":
            told = "{} of {} layers are in eight bits, ".format(*eight_bit_layers(file)) + told
        if format == "openvino":
            told += f", OpenVINO's {export_openvino(file, out, crops, precision)} from ONNX's"
    print(f"{out}: on {len(crops)} crops {told}")


def bench(
    models: Annotated[Positional[tuple[str, ...]], arg(name="MODEL", metavar="MODEL...")] = (),
    backend: Annotated[tuple[str, ...], arg(metavar="NAME...")] = (),
    seconds: Annotated[float, arg(metavar="S")] = 3.0,
    threads: Annotated[int | None, arg(metavar="N")] = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    out: Annotated[Path | None, arg(metavar="DIR")] = None,
) -> None:
    """Time models in all backends of this machine: one crop, the best batch, the whole pipeline, memory, work.

    Args:
        models: shipped names, ONNX files, run folders, resnet50 or swin-b (the paper's, with random weights); by
            default those that ship and these two.
        backend: some backends alone, as predict takes them.
        seconds: for each of a row's measurements.
        threads: on the processor; one a core by default.
        json: print one JSON object and nothing else.
        out: folder for bench.json, bench.md and a plot of error against speed, for models whose error is known.
    """
    from dor3d.bench.report import print_bench

    print_bench(models, backend, seconds, threads, json=json, out=out)


def _sigma_factors(run: Path, count: int, turns: int) -> tuple[float, float, float]:
    """What a run's standard deviations are multiplied by; 1 where its held-out samples cannot be had."""
    from dor3d.train.temperature import fit_temperatures

    try:
        factors, within, samples = fit_temperatures(run, count, turns)
    except InputError as error:
        print(f"Standard deviations stay as they are: {error}")
        return 1.0, 1.0, 1.0
    print(
        f"Standard deviations times {factors[0]:.2f} in the plane and {factors[2]:.2f} in depth: {within[0]:.1%} and "
        f"{within[1]:.1%} of {samples:,} held-out samples' coordinates lie within one and two of them"
    )
    return factors
