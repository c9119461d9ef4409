"""``python -m training.quality_texts``: the texts that a quantized graph is compared on.

They are kept in ``export/quality_texts.jsonl``.
Labelled, of one line to some thousand tokens, and none that training sees: the hand-written lines
and posts that are kept for development, and entries and long journals of the held-out grammar with
such lines between. Seeded: the same lines and grammars give the same file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from export.manifests import replace_text
from training.grammar import GrammarSource, load_grammar
from training.labels import LABELS, Targets, targets
from training.lines import LineSource, load_lines, load_posts
from training.synthetic import EntryWriter, MixedSource, entries

FILE: Final = Path(__file__).parents[1] / "export" / "quality_texts.jsonl"
SEED: Final = 4096

_LINES: Final = 240
_ENTRIES: Final = 140
_JOURNAL_SENTENCES: Final = (25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 110, 130, 150, 180, 220, 260, 320)
_JOURNALS_OF_EACH: Final = 2
_LINE_SHARE: Final = 0.5


def quality_texts(seed: int = SEED) -> Iterator[tuple[str, Targets]]:
    """Yield texts with one target for each of ``LABELS``, shortest kinds first."""
    rng = random.Random(seed)
    lines = load_lines("dev")
    for line in rng.sample(lines, min(_LINES, len(lines))):
        yield line.text, targets(line.expressed)
    for entry in entries("heldout", _ENTRIES, seed):
        yield entry.text, entry.targets
    for post in load_posts("dev"):
        yield post.text, targets(post.expressed)
    source = MixedSource(GrammarSource(load_grammar("heldout"), rng), LineSource(lines, rng), _LINE_SHARE, rng)
    writer = EntryWriter(source, rng)
    for sentences in _JOURNAL_SENTENCES:
        for _ in range(_JOURNALS_OF_EACH):
            journal = writer.journal(sentences)
            yield journal.text, journal.targets


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m training.quality_texts", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=FILE, help=f"default: {FILE.name} of the export package")
    parser.add_argument("--seed", type=int, default=SEED, help="of what is drawn (%(default)s)")
    options = parser.parse_args()
    lines = []
    for text, stated in quality_texts(options.seed):
        labels = [label for label, target in zip(LABELS, stated, strict=True) if target]
        lines.append(json.dumps({"text": text, "labels": labels}, ensure_ascii=False))
    replace_text(options.out, "\n".join(dict.fromkeys(lines)) + "\n")


if __name__ == "__main__":
    main()
