from __future__ import annotations

import csv
import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import export.bundle
import export.calibrate
from export.__main__ import main
from export.archive import ArchiveOptions, build_archive
from export.served import ServedRow, served_rows
from handlers.core.calibration import Calibration
from handlers.core.events import Loaded
from handlers.core.wire import RawRequest
from handlers.runtime.bundle import GRAPH_NAME, Bundle, read_bundle, read_calibration, verify_bundle
from tests.checkpoints import Tiny, make_checkpoint
from tests.unit.conftest import copy_folder, open_pipeline

LABELS = ("neutral", "depressed", "anxious", "stressed")
TEXTS = 160
CANARY = "QxZ73 nobody may read this"

FEWER = ("--labels-left-alone", "neutral,stressed")
"""Half the work, where the labels do not matter."""

Row = dict[str, str]


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> dict[str, ServedRow]:
    """Texts, and what the tiny model makes of them."""
    generator = random.Random(11)
    texts = ["".join(generator.choices("abcdefgh ", k=generator.randint(3, 30))) + f".{n}" for n in range(TEXTS)]
    return dict(zip(texts, served_rows(bundle, texts, device="cpu"), strict=True))


@pytest.fixture(scope="module")
def rows(served: dict[str, ServedRow]) -> list[Row]:
    """A labelled table: a label holds for the upper third of its logits, but for every ninth text."""
    found: list[Row] = [{"text": text} for text in served]
    for index, label in enumerate(LABELS):
        bar = sorted(row.logits[index] for row in served.values())[2 * TEXTS // 3]
        for number, (row, answer) in enumerate(zip(found, served.values(), strict=True)):
            row[label] = str(int((answer.logits[index] >= bar) != ((number + index) % 9 == 0)))
    return found


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path) -> Tiny:
    """A checkpoint and its bundle, the test's own."""
    checkpoint = copy_folder(tiny.checkpoint, tmp_path / "checkpoint")
    return Tiny(checkpoint, copy_folder(tiny.bundle, tmp_path / "bundle"), tmp_path / "store" / "sentiment.mar")


@pytest.fixture
def data(rows: list[Row], tmp_path: Path) -> Path:
    return write(tmp_path / "data.csv", rows)


def write(path: Path, rows: Iterable[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["text", *LABELS, "author"], restval="")
        table.writeheader()
        table.writerows(rows)
    return path


def run(own: Tiny, data: Path, *more: str) -> int:
    fixed = ["--bundle", str(own.bundle), "--device", "cpu", "--bootstrap", "100"]
    return main(["calibrate", *fixed, "--data", str(data), *more])


def calibration(own: Tiny) -> Calibration:
    found = read_calibration(read_bundle(own.bundle))
    assert found is not None
    return found


def answer(bundle: Bundle, text: str) -> dict[str, Any]:
    (outcome,) = open_pipeline(bundle).handle([RawRequest(json.dumps({"text": text}).encode())])
    body: dict[str, Any] = json.loads(outcome.body)
    return body


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_calibrated_bundle_answers_with_calibrated_scores_and_thresholds(
    own: Tiny, data: Path, served: dict[str, ServedRow], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own, data, "--objective", "depressed:recall>=0.9", "--objective", "anxious:cost:fp=1,fn=5") == 0

    bundle, found = read_bundle(own.bundle), calibration(own)
    verify_bundle(bundle)
    assert found.name == f"platt-mixed-{found.data.sha256[:8]}" == bundle.manifest.calibration
    assert [found.labels[label].objective for label in LABELS] == [
        "max_f1",
        "recall>=0.9",
        "cost:fp=1,fn=5",
        "max_f1",
    ]
    assert found.data.scaling_rows + found.data.threshold_rows == found.data.rows == TEXTS
    assert all(found.labels[label].scale != 1.0 for label in LABELS)
    for text in list(served)[:5]:
        body = answer(bundle, text)
        assert body["model"]["calibration"] == found.name
        for index, label in enumerate(body["labels"]):
            expected = found.rule(label["name"]).score(served[text].logits[index])
            assert label["score"] == pytest.approx(expected, abs=1e-5)
            assert label["threshold"] == found.labels[label["name"]].on == bundle.manifest.thresholds[label["name"]]
            assert label["positive"] == (label["score"] >= label["threshold"])
    output = capsys.readouterr()
    assert f"# Calibration {found.name}" in output.out
    assert "| depressed | recall>=0.9 | " in output.out
    assert f"reading {TEXTS} texts" in output.err


def test_the_stated_recall_is_reached_by_the_answers_to_the_threshold_file(
    own: Tiny, rows: list[Row], tmp_path: Path
) -> None:
    scaling, threshold = write(tmp_path / "s.csv", rows[::2]), write(tmp_path / "t.csv", rows[1::2])

    assert run(own, scaling, "--threshold-data", str(threshold), "--objective", "recall>=0.9") == 0

    pipeline = open_pipeline(read_bundle(own.bundle))
    calls = [RawRequest(json.dumps({"text": row["text"]}).encode()) for row in rows[1::2]]
    answers = [json.loads(outcome.body)["labels"] for outcome in pipeline.handle(calls)]
    for index, label in enumerate(LABELS):
        hits = [labels[index]["positive"] for labels, row in zip(answers, rows[1::2], strict=True) if row[label] == "1"]
        assert sum(hits) / len(hits) >= 0.9
        assert calibration(own).labels[label].recall == pytest.approx(sum(hits) / len(hits), abs=1e-6)
    assert calibration(own).data.threshold_file == "t.csv"


def test_calibrating_again_reads_no_text_and_changes_nothing(
    own: Tiny, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own, data, *FEWER) == 0
    before, first = content(own.bundle), capsys.readouterr()

    with monkeypatch.context() as patch:
        patch.delattr(export.calibrate, "served_rows")
        assert run(own, data, *FEWER) == 0
    again = capsys.readouterr()
    assert "holds this calibration already" in again.err
    assert again.out == first.out

    assert run(own, data, *FEWER, "--force") == 0
    assert content(own.bundle) == before
    assert run(own, data, *FEWER, "--seed", "8") == 0
    assert content(own.bundle) != before


def test_the_order_of_rows_and_labels_that_rows_say_nothing_about_change_no_threshold(
    own: Tiny, rows: list[Row], tmp_path: Path
) -> None:
    shuffled = random.Random(3).sample(rows, len(rows))
    run(own, write(tmp_path / "a.csv", rows), *FEWER)
    before = calibration(own)
    run(own, write(tmp_path / "b.csv", shuffled), *FEWER)
    assert calibration(own).labels == before.labels

    halves = [write(tmp_path / "s.csv", rows[::2]), write(tmp_path / "t.csv", rows[1::2])]
    run(own, halves[0], *FEWER, "--threshold-data", str(halves[1]))
    before = calibration(own)
    more = [{"text": f"more {number}", "anxious": str(number % 2)} for number in range(10)]
    run(own, write(halves[0], rows[::2] + more), *FEWER, "--threshold-data", str(halves[1]))
    after = calibration(own)
    others = [label for label in LABELS if label != "anxious"]
    assert [after.labels[label] for label in others] == [before.labels[label] for label in others]
    assert after.labels["anxious"] != before.labels["anxious"]


def test_a_label_that_is_left_alone_keeps_score_and_threshold(
    own: Tiny, rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = write(tmp_path / "d.csv", [row | {"stressed": ""} for row in rows])

    assert run(own, known) == 2
    assert "no row says anything about stressed: label it, or name it in --labels-left-alone" in capsys.readouterr().err
    assert run(own, known, "--labels-left-alone", "stressed", "--json") == 0

    label = json.loads(capsys.readouterr().out)["labels"]["stressed"]
    assert label == {
        **{"scale": 1.0, "offset": 0.0, "on": 0.5, "off": 0.5, "objective": "none", "positives": 0, "negatives": 0},
        **dict.fromkeys(("precision", "recall", "f1", "intervals")),
    }
    assert calibration(own).name.startswith("platt-max_f1-")


def test_rows_of_an_author_stay_in_one_half(
    own: Tiny, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[Any] = []
    check = export.calibrate._check_counts
    monkeypatch.setattr(
        export.calibrate, "_check_counts", lambda rows, *more: (placed.extend(rows), check(rows, *more))
    )

    run(own, write(tmp_path / "d.csv", [row | {"author": f"a{n % 40}"} for n, row in enumerate(rows)]), *FEWER)

    halves = {(item.row.group, item.for_threshold) for item in placed}
    assert len(placed) == TEXTS
    assert len(halves) == 40


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda rows: rows[:1], [], "has [01] positive rows in the (scaling|threshold) split, but at least 10 are"),
        (lambda rows: [row | {"anxious": "0"} for row in rows], [], "anxious has 0 positive rows in the scaling split"),
        (lambda rows: [row | {"anxious": "1"} for row in rows], [], "anxious has 0 negative rows in the scaling split"),
        (lambda rows: rows, ["--minimum", "60"], r"neutral has \d+ positive rows .* at least 60 .*\(--minimum 60\)"),
        (
            lambda rows: rows,
            ["--objective", "anxious:recall>=0.99"],
            r"anxious has \d+ positive rows in the threshold split, but at least 100 .*needs 1 / \(1 - 0.99\)",
        ),
        (
            lambda rows: rows,
            ["--objective", "precision>=0.96"],
            "neutral: no threshold reaches precision 0.96 on 25 texts",
        ),
        (
            lambda rows: [*rows, {"text": CANARY}],
            [],
            rf"data.csv:{TEXTS + 2}: no label is known; fill one in, or delete the row",
        ),
        (
            lambda rows: [
                *rows,
                rows[0] | {"text": f" {rows[0]['text'].upper()}", "anxious": "10"[int(rows[0]["anxious"])]},
            ],
            [],
            rf"data.csv:{TEXTS + 2}: the same text as in row 2, but anxious is (true|false) here and ",
        ),
        (
            lambda rows: [row | {"anxious": "10"[int(row["anxious"])]} for row in rows],
            [],
            "anxious: its scores run against its truth on the scaling split",
        ),
        (lambda rows: rows, ["--labels-left-alone", ",".join(LABELS)], "names every label"),
        (lambda rows: rows, ["--labels-left-alone", "joy"], "--labels-left-alone joy: it is none of the labels"),
        (
            lambda rows: rows,
            ["--labels-left-alone", "anxious", "--objective", "anxious:max_f1"],
            "it has an --objective, so it is not left alone",
        ),
        (lambda rows: rows, ["--objective", "joy:max_f1"], "joy is none of the labels"),
        (lambda rows: rows, ["--threshold-data", "none.csv"], "none.csv: no such file"),
    ],
)
def test_what_the_data_cannot_bear_is_refused_and_leaves_the_bundle_as_it_was(
    own: Tiny,
    rows: list[Row],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Row]], list[Row]],
    more: list[str],
    message: str,
) -> None:
    before = content(own.bundle)

    assert run(own, write(tmp_path / "data.csv", change(rows)), *more) == 2

    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert CANARY not in error
    assert content(own.bundle) == before


def test_a_text_in_both_files_is_refused_by_both_rows(
    own: Tiny, rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling, threshold = write(tmp_path / "s.csv", rows[:80]), write(tmp_path / "t.csv", rows[77:])

    assert run(own, scaling, "--threshold-data", str(threshold)) == 2
    assert f"{threshold}:2: the same text as {scaling}:79; a text may be in one file only" in capsys.readouterr().err


def test_authors_in_both_files_are_told(
    own: Tiny, rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [row | {"author": f"a{n % 3 + 2 * (n % 2)}"} for n, row in enumerate(rows)]
    scaling, threshold = write(tmp_path / "s.csv", known[::2]), write(tmp_path / "t.csv", known[1::2])

    assert run(own, scaling, *FEWER, "--threshold-data", str(threshold)) == 0
    assert f"warning: 1 groups (author or thread) are in both {scaling} and {threshold}" in capsys.readouterr().err


def test_a_bundle_that_has_not_passed_the_gate_is_not_calibrated(
    own: Tiny, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own.bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parity": None}))

    assert run(own, data) == 2
    assert "the parity gate has not run on this bundle" in capsys.readouterr().err


def test_a_damaged_calibration_is_replaced(own: Tiny, data: Path) -> None:
    run(own, data, *FEWER)
    before = content(own.bundle)
    (own.bundle / "calibration.json").write_text("{")

    assert run(own, data, *FEWER) == 0
    assert content(own.bundle) == before


def test_a_smoke_entry_that_falls_under_its_threshold_is_told(
    own: Tiny, data: Path, served: dict[str, ServedRow], capsys: pytest.CaptureFixture[str]
) -> None:
    run(own, data)
    rules = read_bundle(own.bundle).label_rules()
    tops = {text: max(range(len(LABELS)), key=row.logits.__getitem__) for text, row in served.items()}
    found = {rules[top].score(served[text].logits[top]) >= rules[top].threshold: text for text, top in tops.items()}
    smoke = [{"text": found[positive], "expected": LABELS[tops[found[positive]]]} for positive in (True, False)]
    path = own.bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"smoke": smoke}), encoding="utf-8")

    assert run(own, data, "--force") == 0

    error = capsys.readouterr().err
    assert f"warning: smoke entry 2 is no longer {smoke[1]['expected']}: its score 0." in error
    assert "smoke entry 1" not in error
    open_pipeline(read_bundle(own.bundle))


def test_the_gate_counts_flips_on_the_scale_of_the_calibration(
    own: Tiny, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import export.gates

    run(own, data)
    heard: list[list[float]] = []
    compare = export.gates.compare

    def listen(model: Any, runtime: Any, thresholds: list[float], *more: Any) -> Any:
        heard.append(thresholds)
        return compare(model, runtime, thresholds, *more)

    monkeypatch.setattr(export.gates, "compare", listen)
    parity = ["parity", "--checkpoint", str(own.checkpoint), "--bundle", str(own.bundle), "--seeds", "1", "--force"]
    assert main(parity) == 0

    rules = read_bundle(own.bundle).label_rules()
    assert heard == [[rule.uncalibrated_threshold for rule in rules]]
    assert heard[0] != [rule.threshold for rule in rules]
    verify_bundle(read_bundle(own.bundle))


@pytest.fixture
def exports(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports copy the tiny graph, as a real one takes ten seconds."""

    def copy_graph(model: Any, path: Path, precision: str, fp32_layers: int) -> None:
        for suffix in ("", ".data"):
            shutil.copy(f"{tiny.bundle / GRAPH_NAME}{suffix}", f"{path}{suffix}")

    monkeypatch.setattr(export.bundle, "export_onnx", copy_graph)


def export_again(own: Tiny, *more: str) -> int:
    return main(["onnx", "--checkpoint", str(own.checkpoint), "--out", str(own.bundle), *more])


@pytest.mark.usefixtures("exports")
def test_the_same_graph_exported_again_keeps_its_calibration(
    own: Tiny, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(own, data, *FEWER)
    before = calibration(own)

    assert export_again(own, "--force") == 0

    assert f"calibration {before.name} is kept: the graph is the same" in capsys.readouterr().err
    assert calibration(own) == before
    assert read_bundle(own.bundle).manifest.parity is None


@pytest.mark.usefixtures("exports")
def test_another_graph_loses_the_calibration_with_a_word(
    own: Tiny, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(own, data, *FEWER)
    name = calibration(own).name
    make_checkpoint(own.checkpoint, seed=1)
    copy_graph = export.bundle.export_onnx

    def change_weights(model: Any, path: Path, precision: str, fp32_layers: int) -> None:
        copy_graph(model, path, precision, fp32_layers)
        weights = path.with_name(f"{path.name}.data")
        weights.write_bytes(weights.read_bytes() + b"\0")

    monkeypatch.setattr(export.bundle, "export_onnx", change_weights)
    assert export_again(own) == 0

    assert f"calibration {name} is dropped: it was made for another graph" in capsys.readouterr().err
    bundle = read_bundle(own.bundle)
    assert (bundle.manifest.calibration, read_calibration(bundle)) == ("none", None)
    assert set(bundle.manifest.thresholds.values()) == {0.5}
    assert not (own.bundle / "calibration.json").exists()


@pytest.mark.usefixtures("exports")
def test_a_damaged_calibration_is_not_carried_over(own: Tiny, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(own, data, *FEWER)
    path = own.bundle / "calibration.json"
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))

    assert export_again(own) == 0
    assert "is dropped" in capsys.readouterr().err
    assert read_calibration(read_bundle(own.bundle)) is None


def test_the_archive_holds_the_calibration(own: Tiny, data: Path, tmp_path: Path) -> None:
    run(own, data, *FEWER)
    path = build_archive(read_bundle(own.bundle), tmp_path / "store", ArchiveOptions("sentiment", "1.0", {}))

    with zipfile.ZipFile(path) as archive:
        assert archive.read("bundle/calibration.json") == (own.bundle / "calibration.json").read_bytes()
        archive.extractall(tmp_path / "worker")
    unpacked = read_bundle(tmp_path / "worker" / "bundle")
    verify_bundle(unpacked)
    heard: list[object] = []
    open_pipeline(unpacked, heard.append)
    assert any(isinstance(event, Loaded) for event in heard)
