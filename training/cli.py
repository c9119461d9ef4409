"""Command line of the training package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, get_args

import torch

from training.card import write_card
from training.corpus import Mix, TeacherMix
from training.data import data_folder
from training.errors import TrainingError
from training.fit import FitPlan, fit, held_out_table, parse_source
from training.recipe import EMBEDDED, PUBLISHED, TEACHER
from training.small import SmallPlan, TeacherPlan, train_small
from training.smoke import write_smoke
from training.sources import source_table
from training.stages import Device, Precision, choose_hardware
from training.suites import write_suites
from training.teacher import TEACHER_REQUIREMENTS, packaged_teacher

_WORK = Path(".lantern") / "training"
_AnyMix = TypeVar("_AnyMix", Mix, TeacherMix)
_BASE = "allenai/longformer-base-4096"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it did what it was asked, 1 with the reason on stderr otherwise."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        arguments.run(arguments)
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_sources(commands)
    _add_small(commands)
    _add_suites(commands)
    _add_card(commands)
    return parser


def _add_small(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "train the small demonstration checkpoint"
    parser = commands.add_parser("small", help=text, description=text)
    _add_data(parser)
    _add_output(parser)
    _add_hardware(parser)
    parser.add_argument(
        "--teacher",
        metavar="ID|DIR",
        help=f"the encoder that it learns from, a BERT (default: all-MiniLM-L6-v2, as in {TEACHER_REQUIREMENTS})",
    )
    parser.add_argument("--seed", type=int, default=EMBEDDED.seed, help="of data, weights and order (%(default)s)")
    parser.add_argument(
        "--epochs",
        type=float,
        default=1.0,
        help="length of the training as a share of the recipe's (%(default)s); 0.1 makes a quick, poor model",
    )
    parser.set_defaults(run=_small)


def _add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "fine-tune a Longformer checkpoint by the published two stages, on files of yours"
    parser = commands.add_parser("fit", help=text, description=text)
    parser.add_argument("--checkpoint", default=_BASE, metavar="ID|DIR", help="where to start (%(default)s)")
    parser.add_argument("--revision", metavar="SHA", help="of a hub id")
    parser.add_argument(
        "--emotions",
        type=parse_source,
        action="append",
        default=[],
        metavar="KIND=PATH",
        help="texts with emotions for stage 1, repeatable; the kinds: python -m training sources",
    )
    parser.add_argument(
        "--labelled",
        type=parse_source,
        action="append",
        required=True,
        metavar="KIND=PATH",
        help="texts with the labels for stage 2, repeatable",
    )
    parser.add_argument(
        "--emotion-journals", type=_count, default=20_000, metavar="N", help="synthetic ones for stage 1 (%(default)s)"
    )
    parser.add_argument(
        "--neutral-journals", type=_count, default=500, metavar="N", help="synthetic ones for stage 2 (%(default)s)"
    )
    parser.add_argument(
        "--held-out", type=_share, default=0.1, metavar="SHARE", help="of the labelled texts, only scored (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=PUBLISHED.seed, help="of data, head and order (%(default)s)")
    _add_output(parser)
    _add_hardware(parser)
    parser.set_defaults(run=_fit)


def _add_sources(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "list the kinds of files that fit reads, where they come from, and what their labels are taken to say"
    parser = commands.add_parser("sources", help=text, description=text)
    parser.set_defaults(run=lambda _: print(source_table()), threads=1)


def _add_suites(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write the labelled files that the embedded checkpoint is evaluated on"
    parser = commands.add_parser("suites", help=text, description=text + "; prints NAME=FILE for each")
    _add_data(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.set_defaults(run=_suites, threads=1)


def _add_card(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write the embedded checkpoint's card and metrics from the JSON of an evaluation"
    parser = commands.add_parser("card", help=text, description=text)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="folder that training small made")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE", help="JSON of python -m evaluation")
    parser.set_defaults(run=lambda arguments: write_card(arguments.checkpoint, arguments.report), threads=1)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: ../shared/data)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint folder to write")
    parser.add_argument(
        "--work", type=Path, default=_WORK, metavar="DIR", help="where an interrupted run goes on from (%(default)s)"
    )


def _add_hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="%(default)s: a GPU where there is one"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="%(default)s: bf16 where the device computes in it",
    )
    _add_threads(parser)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2, help="CPU threads to compute with (%(default)s)")


def _count(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(value)
    return number


def _share(value: str) -> float:
    share = float(value)
    if not 0.0 <= share < 1.0:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return share


def _fit(arguments: argparse.Namespace) -> None:
    plan = FitPlan(
        checkpoint=arguments.checkpoint,
        revision=arguments.revision,
        emotions=tuple(arguments.emotions),
        labelled=tuple(arguments.labelled),
        emotion_journals=arguments.emotion_journals,
        neutral_journals=arguments.neutral_journals,
        held_out=arguments.held_out,
        recipe=replace(PUBLISHED, seed=arguments.seed),
    )
    hardware = choose_hardware(arguments.device, arguments.precision)
    found = fit(plan, arguments.out, arguments.work, hardware)
    if found is not None:
        print(held_out_table(found), file=sys.stderr)
    print(arguments.out)


def _small(arguments: argparse.Namespace) -> None:
    data = data_folder(arguments.data)
    plan = _plan(arguments.seed, arguments.epochs)
    hardware = choose_hardware(arguments.device, arguments.precision)
    source = arguments.teacher or str(packaged_teacher(arguments.work / "teacher"))
    train_small(plan, data, source, arguments.out, arguments.work, hardware)
    write_smoke(arguments.out)


def _plan(seed: int, epochs: float) -> SmallPlan:
    plan = SmallPlan()
    teacher = TeacherPlan(replace(TEACHER, seed=seed), _scaled(plan.teacher.mix, epochs))
    return replace(plan, teacher=teacher, recipe=replace(EMBEDDED, seed=seed), mix=_scaled(plan.mix, epochs))


def _scaled(mix: _AnyMix, share: float) -> _AnyMix:
    """``mix`` with ``share`` of the texts."""
    amounts = ("emotion_comments", "journals", "comments", "documents", "lines", "changed_lines")
    found = {name: getattr(mix, name) for name in amounts if hasattr(mix, name)}
    return replace(mix, **{name: max(1, round(count * share)) for name, count in found.items()})


def _suites(arguments: argparse.Namespace) -> None:
    for name, path in write_suites(data_folder(arguments.data), arguments.out).items():
        print(f"{name}={path}")
