"""Command line of the training package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from training.card import table, write_card
from training.data import data_folder
from training.errors import TrainingError
from training.evaluation import evaluate
from training.small import Recipe, train_small
from training.smoke import write_smoke

_WORK = Path(".lantern") / "training"


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
    _add_small(commands)
    _add_evaluate(commands)
    return parser


def _add_small(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "train the small demonstration checkpoint"
    parser = commands.add_parser("small", help=text, description=text)
    _add_common(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint folder to write")
    parser.add_argument(
        "--work", type=Path, default=_WORK, metavar="DIR", help="where an interrupted run goes on from (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="of data, weights and order (%(default)s)")
    parser.add_argument(
        "--epochs",
        type=float,
        default=1.0,
        help="length of the training as a share of the recipe's (%(default)s); 0.1 makes a quick, poor model",
    )
    parser.set_defaults(run=_small)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "score a checkpoint on everything that training never saw; a table on stderr, JSON on stdout"
    parser = commands.add_parser("evaluate", help=text, description=text)
    _add_common(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="checkpoint folder to read")
    parser.set_defaults(run=_evaluate)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: ../shared/data)")
    parser.add_argument("--threads", type=int, default=2, help="threads to compute with (%(default)s)")


def _small(arguments: argparse.Namespace) -> None:
    data = data_folder(arguments.data)
    recipe = _recipe(arguments.seed, arguments.epochs)
    train_small(recipe, data, arguments.out, arguments.work)
    report = evaluate(arguments.out, data)
    print(table(report), file=sys.stderr)
    write_card(arguments.out, recipe, report)
    write_smoke(arguments.out)


def _recipe(seed: int, epochs: float) -> Recipe:
    recipe = Recipe(seed=seed)
    if epochs == 1.0:
        return recipe
    mix = recipe.mix
    return replace(
        recipe,
        mix=replace(
            mix,
            synthetic=round(mix.synthetic * epochs),
            goemotions_repeats=max(1, round(mix.goemotions_repeats * epochs)),
            counselchat_repeats=max(1, round(mix.counselchat_repeats * epochs)),
            documents=round(mix.documents * epochs),
        ),
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    report = evaluate(arguments.checkpoint, data_folder(arguments.data))
    print(table(report), file=sys.stderr)
    print(json.dumps(report.as_json(), indent=2))
