"""``python -m evaluation.statements``: how many explicit statements the floor finds, by language and family."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evaluation.errors import EvaluationError
from evaluation.statements.card import CARD, FIGURES, card_json, card_markdown, meets_goals
from evaluation.statements.figures import Judged, LanguageFigures, Share, figures_by_language, judge
from evaluation.statements.sentences import FAMILIES, read_set
from export.manifests import replace_text
from handlers.core.errors import StartupError
from handlers.core.statements import LANGUAGES
from handlers.floor.matcher import PHRASES, Floor, load_floor, read_folder

EXIT_REFUSED: Final = 1
EXIT_MISSED: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0, 1 with one line that says why not, or 3 where ``--check`` finds a goal missed."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (EvaluationError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED


def _run(options: argparse.Namespace) -> int:
    floor = load_floor(options.phrases)
    if options.texts is not None:
        print(_count(floor, options.texts))
        return 0
    sentences = [one for one in read_set(options.set) if one.language in (options.language or LANGUAGES)]
    judged = judge(floor, sentences)
    figures = figures_by_language(judged)
    if options.card:
        replace_text(options.phrases / CARD, card_markdown(figures, read_folder(options.phrases)))
        replace_text(options.phrases / FIGURES, card_json(figures))
        print(f"written: {options.phrases / CARD} and {options.phrases / FIGURES}", file=sys.stderr)
    print(card_json(figures) if options.json else "\n\n".join(_words(one) for one in figures))
    if options.misses:
        print("\n".join(_miss(one) for one in judged if one.is_wrong))
    return EXIT_MISSED if options.check and not all(map(meets_goals, figures)) else 0


def _words(figures: LanguageFigures) -> str:
    rows = [(f"  {name:<14}", figures.families.get(name)) for name in FAMILIES]
    rows += [
        ("  all statements", figures.recall),
        ("  all opposites ", figures.false_flags),
        ("  precision     ", figures.precision),
    ]
    return "\n".join([figures.language, *(f"{name}  {_share_words(share)}" for name, share in rows if share)])


def _share_words(share: Share) -> str:
    return f"{share.hits:4} of {share.total:4}  {share.value:.3f}  ({share.low:.3f} to {share.high:.3f})"


def _miss(one: Judged) -> str:
    what = "not flagged" if one.sentence.explicit else f"flagged as {', '.join(one.kinds)}"
    return f"{one.sentence.language} {one.sentence.family}: {what}: {one.sentence.text}"


def _count(floor: Floor, path: Path) -> str:
    """Return how many lines of a file are flagged, by kind and language. No line is repeated: it may be anybody's."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from None
    flagged = {number: found for number, line in enumerate(lines, 1) if (found := floor.find(line))}
    counts = Counter((one.kind, one.language) for found in flagged.values() for one in found)
    rows = [f"  {kind} ({language}): {count}" for (kind, language), count in sorted(counts.items())]
    numbers = ", ".join(map(str, flagged)) or "none"
    return "\n".join([f"{len(flagged)} of {len(lines)} lines flagged", *rows, f"lines: {numbers}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation.statements", description=__doc__)
    add = parser.add_argument
    add("--set", choices=("development", "test"), default="development", help="the labelled sentences to read")
    add("--language", action="append", choices=LANGUAGES, help="read this language alone; may be given several times")
    add("--phrases", type=Path, default=PHRASES, help="the folder of phrase files; those of the bundle by default")
    add("--misses", action="store_true", help="also print the labelled sentences that came out wrong")
    add("--texts", type=Path, help="count the lines of this file that are flagged instead; no line is repeated")
    add("--card", action="store_true", help="write the card and its JSON beside the phrases")
    add("--json", action="store_true", help="print the figures as JSON")
    add("--check", action="store_true", help=f"end with {EXIT_MISSED} where a goal of the card is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
