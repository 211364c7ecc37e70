"""Verbs that look at data sets and compare methods: inspect, evaluate, score, compare, tables, figures."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from tyro.conf import Positional, arg

from dor3d.verbs import spin_briefly

# arguments that several verbs have
Name = Annotated[str, arg(metavar="NAME")]
TableNumber = Literal["2", "3", "4", "5", "6", "ours", "local"]
Count = Annotated[int, arg(metavar="N")]
Folder = Annotated[Path, arg(metavar="DIR")]
MaybeFolder = Annotated[Path | None, arg(metavar="DIR")]
Truth = Annotated[Path, arg(metavar="FILE|DIR")]
Split = Annotated[str | None, arg(metavar="SPLIT")]
Source = Annotated[str, arg(metavar="SOURCE|FILE")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def score(
    benchmark: Name,
    truth: Truth,
    pred: Annotated[Path, arg(metavar="FILE")],
    split: Split = None,
    skip_bad: Flag = False,
    json: Flag = False,
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
    benchmark: Name,
    truth: Truth,
    results: Annotated[tuple[str, ...], arg(metavar="NAME=FILE...")],
    out: Folder,
    split: Split = None,
    skip_bad: Flag = False,
    json: Flag = False,
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
    dataset: Name,
    root: Folder,
    split: Split = None,
    centers: Source = "locate",
    cube: Annotated[str | None, arg(metavar="MM[,MM]")] = None,
    skip_bad: Flag = False,
    json: Flag = False,
    out: Folder = Path("dor3d-evaluate"),
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
    dataset: Name,
    root: Folder,
    split: Split = None,
    out: Folder = Path("dor3d-inspect"),
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
    names: Annotated[Positional[tuple[TableNumber, ...]], arg(name="N", metavar="N...")],
    out: Folder,
    dataset: Name = "synthetic",
    root: MaybeFolder = None,
    backbone: Name = "compact",
    steps: Count = 1600,
    seeds: Count = 3,
    jobs: Count = 1,
    frames: Count = 0,
    centers: Source = "mass",
    test: MaybeFolder = None,
    *,
    changes: tyro.conf.Suppress[dict[str, str] | None] = None,
) -> None:
    """Train what a table of the paper compares, and write the table. Fields of the recipe can be set: --key value.

    All variants get equal data, steps, seeds and a choice of three learning rates, at a fifth of the steps. What is
    done is kept in DIR: the same command goes on where it stopped.

    Args:
        names: 2 to 6, the paper's, ours (what it did not try) and local (the local ordinal head); all by default.
        out: folder for table_N.json, table_N.md, results and runs.
        dataset: synthetic (rendered hands), nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        backbone: of all variants; Table 5 sets one of another kind beside it.
        steps: optimizer steps of each training.
        seeds: trainings of each variant.
        jobs: trainings side by side; they share the cores.
        frames: of the frozen test set at most; 0 for all.
        centers: where the test's crops are centred, for a data set.
        test: folder of the frames that are scored, for folder; the other sets have a test of their own.
        changes: the recipe's fields that differ, for all variants.
    """
    spin_briefly()
    from dor3d.evaluate.tables import make_tables
    from dor3d.evaluate.trials import Plan

    plan = Plan(dataset, root, backbone, steps, seeds, out, jobs, frames, centers, changes or {}, test)
    for path in make_tables(names or get_args(TableNumber), plan):
        print(path.read_text())


def figures(
    names: Annotated[
        Positional[tuple[Literal["1", "2", "3", "4", "6", "calibration"], ...]], arg(name="N", metavar="N...")
    ],
    out: Folder,
    models: Annotated[tuple[str, ...], arg(metavar="[NAME=]DIR|FILE...")] = (),
    dataset: Name = "synthetic",
    root: MaybeFolder = None,
    truths: Annotated[tuple[str, ...], arg(metavar="NAME=FILE...")] = (),
    joint: Name = "index_tip",
    frames: Count = 256,
    centers: Source = "mass",
    split: Split = None,
) -> None:
    """Draw figures of the paper for any model and set (5 is drawn by dor3d compare).

    Args:
        names: 1 (what networks say of a joint all over their maps, and how far from order), 2 and 3 (how network and
            ordinal head work), 4 (thresholds and depths of joints), 6 (predictions over truth, from good to bad),
            calibration (what a network says of its error, and what that is).
        out: folder for the figures.
        models: run folders; for 6 and calibration also ONNX files or shipped models. 2, 3 and 6 show one.
        dataset: synthetic (the frozen test set), nyu, icvl, msra, hands17 or folder.
        root: the folder that the set's download was unpacked into.
        truths: files of true poses, as nyu=truth.txt, whose depths figure 4 shows too.
        joint: that figures 1 and 3 show.
        frames: of the set, at most: evenly spread over a recording, the first of the frozen set.
        centers: where crops are centred, for a data set.
        split: which part of the set; by default the one that is scored.
    """
    from dor3d.evaluate.figures import Request, make_figures

    for path in make_figures(names, Request(models, dataset, root, truths, joint, frames, centers, out, split)):
        print(path)
