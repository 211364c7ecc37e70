"""The command line: one verb a capability. Everything heavy is imported by the verb that needs it."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from dor3d import __version__
from dor3d.errors import Dor3dError, InputError, MissingExtraError
from dor3d.usage import parse, split_fields

Side = Literal["auto", "left", "right"]
_TRAINING = ("torch", "torchvision", "timm", "lightning", "numba", "scipy", "onnx", "onnxscript", "safetensors")


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
        backend: what runs the network: auto or onnxruntime.
        threads: of the network; one a core by default.
        overlay: draw the joints over each frame.
        out: folder for the results.
    """
    from dor3d.predict.batch import Options, predict_files

    options = Options(camera, depth_unit_mm, center, centers, cube, hand, model, backend, threads, overlay, out)
    summary = predict_files(inputs, options)
    print(summary.line(out))
    if summary.without and not summary.hands:
        print("No hand in any frame. If there is one: is the depth unit right (--depth-unit-mm), and the camera?")


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
        init: weights to start from, a run folder or a safetensors file.
        changes: the recipe's other fields.
    """
    _spin_briefly()
    from dor3d.train.start import start

    given = {"seed": seed, "steps": steps, "checkpoint_every": checkpoint_every}
    fields: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    folder = out or Path("runs") / recipe
    result = start(recipe, {**(changes or {}), **fields}, folder, resume=resume, init=init)
    if result.first:
        print(f"{folder}: step {result.step}" + ("" if result.finished else ", stopped; go on with --resume"))


def _spin_briefly() -> None:
    """Let threads that wait for each other sleep soon, so that processes that make samples get the processor.

    Spinning for long, as is usual, they starve the ones that they wait for (docs/log.md). Read when torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def export(
    model: Annotated[Positional[Path], arg(name="MODEL", metavar="MODEL")],
    out: Annotated[Path, arg(metavar="FILE")],
    format: Literal["onnx"] = "onnx",
) -> None:
    """Turn a trained run into one file that predicts without the training stack.

    Args:
        model: a run folder.
        out: the file to write.
        format: its format.
    """
    from dor3d.runtime.export import export_onnx

    difference = export_onnx(model, out)
    print(f"{out}: joints agree with torch's within {difference:.3f} mm on average")


def score(
    benchmark: Annotated[str, arg(metavar="NAME")],
    truth: Annotated[Path, arg(metavar="FILE|DIR")],
    pred: Annotated[Path, arg(metavar="FILE")],
    split: Annotated[str | None, arg(metavar="SPLIT")] = None,
    skip_bad: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Score a file of predictions against true poses.

    Args:
        benchmark: nyu, icvl, msra or hands17.
        truth: true poses: a file with a line a frame, u v d or x y z of each joint, or the benchmark's own folder.
        pred: predicted poses, in the community's text format, dor3d's own, or poses.jsonl.
        split: which part of the benchmark's folder; by default the one that is scored.
        skip_bad: leave out frames that cannot be read or are missing by name, and list them.
        json: print one JSON object and nothing else.
    """
    from dor3d.evaluate.report import print_scores
    from dor3d.evaluate.score import score_file

    protocol, poses = _truth_of(benchmark, truth, split, skip_bad=skip_bad)
    print_scores(protocol, {pred.stem: score_file(protocol, poses, pred, skip_bad=skip_bad)}, as_json=json)


def compare(
    benchmark: Annotated[str, arg(metavar="NAME")],
    truth: Annotated[Path, arg(metavar="FILE|DIR")],
    results: Annotated[tuple[str, ...], arg(metavar="NAME=FILE...")],
    out: Annotated[Path, arg(metavar="DIR")],
    split: Annotated[str | None, arg(metavar="SPLIT")] = None,
    skip_bad: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Compare methods by their files of predictions; writes table.csv, table.md and two figures.

    Args:
        benchmark: nyu, icvl, msra or hands17.
        truth: true poses: a file with a line a frame, or the benchmark's own folder.
        results: the methods' files.
        out: folder for the tables and figures.
        split: which part of the benchmark's folder; by default the one that is scored.
        skip_bad: leave out frames that cannot be read in one of the files, and list them.
        json: print one JSON object and nothing else.
    """
    from dor3d.evaluate.compare import compare as compare_files
    from dor3d.evaluate.compare import parse_results
    from dor3d.evaluate.report import print_scores

    files = parse_results(results)
    protocol, poses = _truth_of(benchmark, truth, split, skip_bad=skip_bad)
    print_scores(protocol, compare_files(protocol, poses, files, out, skip_bad=skip_bad), as_json=json, out=out)


def _truth_of(benchmark: str, truth: Path, split: str | None, *, skip_bad: bool) -> tuple[Any, Any]:
    """A benchmark's protocol and its true poses."""
    from dor3d.benchmarks import Benchmark
    from dor3d.evaluate.truth import read_truth

    protocol = Benchmark.named(benchmark)
    return protocol, read_truth(protocol, truth, split=split, skip_bad=skip_bad)


def evaluate(
    model: Annotated[Positional[str], arg(name="MODEL", metavar="MODEL")],
    dataset: Annotated[str, arg(metavar="NAME")],
    root: Annotated[Path, arg(metavar="DIR")],
    split: Annotated[str | None, arg(metavar="SPLIT")] = None,
    centers: Annotated[str, arg(metavar="SOURCE|FILE")] = "locate",
    cube: Annotated[str | None, arg(metavar="MM[,MM]")] = None,
    skip_bad: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    out: Annotated[Path, arg(metavar="DIR")] = Path("dor3d-evaluate"),
) -> None:
    """Predict every frame of a data set into a file, and score the file.

    Args:
        model: a shipped model's name, an ONNX file or a run folder.
        dataset: nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        split: which part; by default the one that is scored.
        centers: where crops are centred: locate (finds the hand as predict does), mass (centre of mass), box (inside
            the boxes of HANDS2017's test), truth (from the labels: an upper bound), or a file of centres, such as
            V2V-PoseNet's refined ones.
        cube: side of the cube around the hand in mm, in the image plane and in depth; the model's own by default.
        skip_bad: leave out frames that cannot be read, and list them.
        json: print one JSON object and nothing else.
        out: folder for predictions.txt, truth.txt and score.json.
    """
    from dor3d.data.sets import open_set
    from dor3d.evaluate.report import print_evaluation, progress
    from dor3d.evaluate.run import evaluate as run
    from dor3d.evaluate.run import open_centers, open_model
    from dor3d.text import cube_of

    frames = open_set(dataset, root, split)
    cube_mm = None if cube is None else cube_of(cube)
    source = open_centers(centers, frames)
    result = run(
        open_model(model), frames, source, out, cube_mm=cube_mm, skip_bad=skip_bad, watch=progress(len(frames))
    )
    print_evaluation(result, as_json=json)


def inspect(
    dataset: Annotated[str, arg(metavar="NAME")],
    root: Annotated[Path, arg(metavar="DIR")],
    split: Annotated[str | None, arg(metavar="SPLIT")] = None,
    out: Annotated[Path, arg(metavar="DIR")] = Path("dor3d-inspect"),
) -> None:
    """Look at a data set before trusting it: counts, broken files, labels over depth.

    Args:
        dataset: nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        split: which part; by default the one that is scored.
        out: folder for contact_sheet.png.
    """
    from dor3d.data.sets import open_set
    from dor3d.evaluate.inspect import inspect as look

    print("\n".join(look(open_set(dataset, root, split), out).lines()))
    print(f"contact_sheet.png in {out}")


def tables(
    names: Annotated[Positional[tuple[Literal["2", "3", "4", "5", "6", "ours"], ...]], arg(name="N", metavar="N...")],
    out: Annotated[Path, arg(metavar="DIR")],
    dataset: Annotated[str, arg(metavar="NAME")] = "synthetic",
    root: Annotated[Path | None, arg(metavar="DIR")] = None,
    backbone: Annotated[str, arg(metavar="NAME")] = "compact",
    steps: Annotated[int, arg(metavar="N")] = 1600,
    seeds: Annotated[int, arg(metavar="N")] = 3,
    jobs: Annotated[int, arg(metavar="N")] = 1,
    frames: Annotated[int, arg(metavar="N")] = 0,
    centers: Annotated[str, arg(metavar="SOURCE|FILE")] = "mass",
    *,
    changes: tyro.conf.Suppress[dict[str, str] | None] = None,
) -> None:
    """Train what a table of the paper compares, and write the table. Fields of the recipe can be set: --key value.

    All variants get equal data, steps, seeds and a choice of three learning rates, at a fifth of the steps. What is
    done is kept in DIR: the same command goes on where it stopped.

    Args:
        names: 2 to 6, the paper's, and ours (what it did not try).
        out: folder for table_N.json, table_N.md, results and runs.
        dataset: synthetic (rendered hands), nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        backbone: of all variants; Table 5 sets one of another kind beside it.
        steps: optimizer steps of each training.
        seeds: trainings of each variant.
        jobs: trainings side by side; they share the cores.
        frames: of the frozen test set at most; 0 for all.
        centers: where the test's crops are centred, for a data set.
        changes: the recipe's fields that differ, for all variants.
    """
    _spin_briefly()
    from dor3d.evaluate.tables import make_tables
    from dor3d.evaluate.trials import Plan

    plan = Plan(dataset, root, backbone, steps, seeds, out, jobs, frames, centers, changes or {})
    for path in make_tables(names or ("2", "3", "4", "5", "6", "ours"), plan):
        print(path.read_text())


def figures(
    names: Annotated[
        Positional[tuple[Literal["1", "2", "3", "4", "6", "calibration"], ...]], arg(name="N", metavar="N...")
    ],
    out: Annotated[Path, arg(metavar="DIR")],
    models: Annotated[tuple[str, ...], arg(metavar="[NAME=]DIR|FILE...")] = (),
    dataset: Annotated[str, arg(metavar="NAME")] = "synthetic",
    root: Annotated[Path | None, arg(metavar="DIR")] = None,
    truths: Annotated[tuple[str, ...], arg(metavar="NAME=FILE...")] = (),
    joint: Annotated[str, arg(metavar="NAME")] = "index_tip",
    frames: Annotated[int, arg(metavar="N")] = 256,
    centers: Annotated[str, arg(metavar="SOURCE|FILE")] = "mass",
) -> None:
    """Draw figures of the paper for any model and set (5 is drawn by dor3d compare).

    Args:
        names: 1 (what networks say of a joint all over their maps, and how far from order), 2 and 3 (how network and
            ordinal head work), 4 (thresholds and depths of joints), 6 (predictions over truth, from good to bad),
            calibration (what a network says of its error, and what that is).
        out: folder for the figures.
        models: run folders; for 6 and calibration also ONNX files or shipped models.
        dataset: synthetic (the frozen test set), nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        truths: files of true poses, as nyu=truth.txt, whose depths figure 4 shows too.
        joint: that figures 1 and 3 show.
        frames: of the set, at most.
        centers: where crops are centred, for a data set.
    """
    from dor3d.evaluate.figures import Request, make_figures

    for path in make_figures(names, Request(models, dataset, root, truths, joint, frames, centers, out)):
        print(path)


_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "predict": predict,
    "render": render,
    "train": train,
    "export": export,
    "score": score,
    "compare": compare,
    "evaluate": evaluate,
    "inspect": inspect,
    "tables": tables,
    "figures": figures,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `dor3d`: returns when done, and exits with 2 and one clear line on wrong usage or bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"dor3d {__version__}")
        return
    try:
        words, changes = split_fields(words, _VERBS)
        job = parse(words, _VERBS)
        job(**({"changes": changes} if changes else {}))
    except Dor3dError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAINING:
            raise
        _fail(str(MissingExtraError(f"dor3d {words[0]} needs {error.name}, which is not installed", "train")))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
