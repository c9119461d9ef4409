"""``python -m evaluation`` over real bundles: what it writes, what it refuses, what it never repeats."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from evaluation.__main__ import main
from export.labelled import read_labelled
from export.manifests import record_calibration, save_manifest
from export.served import served_rows
from handlers.core.calibration import CalibratedLabel, Calibration, CalibrationData, CalibrationOptions
from handlers.core.manifest import QualityRecord
from handlers.core.scores import sigmoid
from handlers.runtime.bundle import GRAPH_NAME, Bundle, read_bundle, sha256_file
from tests.checkpoints import LABELS, Tiny

CANARY = "xylophone-quagmire"
ROWS = 24


def write_rows(path: Path, labels: Sequence[str] = LABELS, rows: int = ROWS, groups: bool = False) -> Path:
    """Write labelled texts of several lengths, one longer than a window; every text holds the canary."""
    generator = np.random.default_rng(len(labels))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *labels, *(["author"] if groups else [])])
        for row in range(rows):
            words = 40 if row == 0 else 1 + row % 5
            truth = ["" if row == 3 and label == "stressed" else int(generator.random() < 0.5) for label in labels]
            writer.writerow([f"{row} " + f"{CANARY} " * words, *truth, *([f"{CANARY}-{row % 6}"] if groups else [])])
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "labelled.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "report.html"


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--device", "cpu", "--resamples", "50"])


def figures(out: Path) -> Any:
    return json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


# Bundles to judge.


def changed_bundle(tiny: Tiny, folder: Path, precision: str, change: Callable[[Any], Any]) -> Path:
    """Copy the tiny bundle with other weights, as a bundle of ``precision`` that has passed the gate."""
    shutil.copytree(tiny.bundle, folder)
    model = onnx.load(folder / GRAPH_NAME)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(change(weights).astype(np.float32), tensor.name))
    for path in folder.glob(f"{GRAPH_NAME}*"):
        path.unlink()
    onnx.save(model, folder / GRAPH_NAME)
    bundle = read_bundle(folder)
    files = {name: sha256_file(folder / name) for name in bundle.manifest.files if (folder / name).exists()}
    parity = bundle.manifest.parity
    assert parity is not None
    parity = parity.model_copy(update={"graph_sha256": files[GRAPH_NAME], "precision": precision})
    quality = QualityRecord(
        report="quality.json",
        data="texts.jsonl",
        data_sha256="0" * 64,
        texts=10,
        decisions=40,
        flips=0,
        flip_limit=0.005,
        macro_f1_loss=None,
        f1_limit=0.005,
        kept_fp32=(),
        passed=True,
        graph_sha256=files[GRAPH_NAME],
    )
    changes = {"precision": precision, "files": files, "parity": parity, "quality": quality}
    save_manifest(folder, bundle.manifest.model_copy(update=changes))
    return folder


def with_manifest(tiny: Tiny, folder: Path, **changes: object) -> Path:
    bundle = Bundle(Path(shutil.copytree(tiny.bundle, folder)), read_bundle(tiny.bundle).manifest)
    save_manifest(folder, bundle.manifest.model_copy(update=changes))
    return folder


def calibrated_bundle(tiny: Tiny, folder: Path, data: Path) -> Path:
    bundle = read_bundle(Path(shutil.copytree(tiny.bundle, folder)))
    label = CalibratedLabel(scale=2.0, offset=0.3, on=0.6, off=0.4, objective="max_f1", positives=9, negatives=9)
    calibration = Calibration(
        name="platt-max_f1-0000",
        method="platt",
        precision="fp32",
        graph_sha256=bundle.graph_sha256,
        seed=7,
        data=CalibrationData(
            file=data.name, sha256=sha256_file(data), rows=ROWS, scaling_rows=ROWS // 2, threshold_rows=ROWS // 2
        ),
        options=CalibrationOptions(bootstrap=10, hysteresis=0.1, minimum=1),
        labels=dict.fromkeys(LABELS, label),
        tools={},
    )
    record_calibration(bundle, calibration)
    return folder


# What it writes.


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of the tiny bundle that tests only look at: its data, its report, and what it said meanwhile."""

    data: Path
    out: Path
    printed: str
    complained: str


@pytest.fixture(scope="module")
def evaluated(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Evaluate once: a page takes a second to draw."""
    folder = tmp_path_factory.mktemp("evaluated")
    data, out = write_rows(folder / "labelled.csv"), folder / "reports" / "report.html"
    with (
        pytest.MonkeyPatch.context() as environment,
        redirect_stdout(StringIO()) as printed,
        redirect_stderr(StringIO()) as complained,
    ):
        environment.setenv("SOURCE_DATE_EPOCH", "1700000000")
        assert run("--bundle", tiny.bundle, "--data", data, "--out", out, "--json") == 0
    return Evaluated(data, out, printed.getvalue(), complained.getvalue())


def test_the_figures_are_those_of_the_served_pipeline(tiny: Tiny, evaluated: Evaluated) -> None:
    suite = figures(evaluated.out)["suites"]["labelled"]
    bundle = read_bundle(tiny.bundle)
    file = read_labelled(evaluated.data, LABELS)
    served = served_rows(bundle, [row.text for row in file.rows], device="cpu")
    for column, label in enumerate(LABELS):
        known = [row.targets.get(label) for row in file.rows]
        called = [sigmoid(row.logits[column]) >= 0.5 for row in served]
        hits = sum(bool(truth) and call for truth, call in zip(known, called, strict=True))
        counts, metrics = suite["labels"][label]["counts"], suite["labels"][label]["metrics"]
        assert counts["known"] == ROWS - (label == "stressed")
        assert counts["positives"] == known.count(True)
        assert metrics["recall"]["value"] == pytest.approx(hits / known.count(True))
        assert metrics["recall"]["low"] <= metrics["recall"]["value"] <= metrics["recall"]["high"]
    assert sum(part["rows"] for part in suite["by_tokens"]) == ROWS
    assert [part["rows"] for part in suite["by_windows"]] == [ROWS - 1, 1]
    assert suite["data"] == {
        "file": "labelled.csv",
        "sha256": file.sha256,
        "rows": ROWS,
        "groups": None,
        "is_calibration_data": False,
    }


def test_the_same_command_writes_the_same_bytes(
    tiny: Tiny, evaluated: Evaluated, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert run("--bundle", tiny.bundle, "--data", evaluated.data, "--out", out, "--json") == 0

    for suffix in (".html", ".json"):
        assert out.with_suffix(suffix).read_bytes() == evaluated.out.with_suffix(suffix).read_bytes()
    assert figures(out)["generated_at"] == "2023-11-14T22:13:20Z"
    assert sorted(path.name for path in out.parent.iterdir()) == ["report.html", "report.json"]


def test_no_word_of_the_data_leaves_it(
    tiny: Tiny, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "labelled.csv", groups=True)
    assert run("--bundle", tiny.bundle, "--data", data, "--out", out, "--json") == 0

    told = capsys.readouterr()
    assert figures(out)["suites"]["labelled"]["data"]["groups"] == 6
    for text in (told.out, told.err, out.read_text("utf-8"), out.with_suffix(".json").read_text("utf-8")):
        assert "quagmire" not in text and "xylophone" not in text


def test_json_on_the_terminal_is_the_file_and_nothing_else(evaluated: Evaluated) -> None:
    assert evaluated.printed == evaluated.out.with_suffix(".json").read_text("utf-8")
    assert "Macro F1" in evaluated.complained and f"written: {evaluated.out}" in evaluated.complained


def test_each_suite_has_its_section(tiny: Tiny, data: Path, tmp_path: Path, out: Path) -> None:
    other = write_rows(tmp_path / "other.csv", labels=("neutral", "anxious"))
    suites = ("--suite", f"everyday={data}", "--suite", f"two labels={other}")
    assert run("--bundle", tiny.bundle, *suites, "--out", out) == 0

    found = figures(out)["suites"]
    assert list(found) == ["everyday", "two labels"]
    assert found["two labels"]["labels"]["stressed"]["not_evaluated"]
    assert found["two labels"]["labels"]["anxious"]["not_evaluated"] is None
    assert "two labels" in out.read_text("utf-8")


def test_precisions_of_a_checkpoint_are_compared(tiny: Tiny, data: Path, tmp_path: Path, out: Path) -> None:
    coarse = changed_bundle(tiny, tmp_path / "int8", "int8", lambda weights: np.round(weights * 8) / 8)
    assert run("--bundle", tiny.bundle, "--bundle", coarse, "--data", data, "--out", out) == 0

    suite = figures(out)["suites"]["labelled"]
    file = read_labelled(data, LABELS)
    logits = [
        np.array([row.logits for row in served_rows(read_bundle(folder), [r.text for r in file.rows], device="cpu")])
        for folder in (tiny.bundle, coarse)
    ]
    (pair,) = suite["comparisons"]
    assert (pair["first"], pair["second"]) == ("fp32", "int8")
    assert pair["all_labels"]["max_abs_delta_logit"] == pytest.approx(float(np.abs(logits[0] - logits[1]).max()))
    assert pair["all_labels"]["flips"] == int(((logits[0] >= 0) != (logits[1] >= 0)).sum()) > 0
    assert set(suite["bundles"]) == {"fp32", "int8"}


def test_only_positives_leave_rankings_undefined(tiny: Tiny, tmp_path: Path, out: Path) -> None:
    data = tmp_path / "all.csv"
    data.write_text("text,anxious,neutral\none,1,0\ntwo,1,1\nthree,1,0\n", encoding="utf-8")
    assert run("--bundle", tiny.bundle, "--data", data, "--out", out) == 0

    auroc = figures(out)["suites"]["all"]["labels"]["anxious"]["metrics"]["auroc"]
    assert auroc == {"value": None, "low": None, "high": None, "note": "only positives"}
    assert "not defined: only positives" in out.read_text("utf-8")


# Calibration.


def test_a_calibrated_bundle_is_judged_by_its_calibrated_scores(
    tiny: Tiny, data: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = calibrated_bundle(tiny, tmp_path / "calibrated", write_rows(tmp_path / "calibration.csv", rows=9))
    assert run("--bundle", folder, "--bundle", tiny.bundle, "--data", data, "--out", out) == 0

    assert capsys.readouterr().err.count("texts scored in") == 1  # the graph is the same, and so are its logits
    report = figures(out)
    assert [bundle["name"] for bundle in report["bundles"]] == [
        "fp32 platt-max_f1-0000",
        "fp32 uncalibrated",
    ]
    suite = report["suites"]["labelled"]
    file = read_labelled(data, LABELS)
    served = served_rows(read_bundle(folder), [row.text for row in file.rows], device="cpu")
    scores = [sigmoid(2.0 * row.logits[0] + 0.3) for row in served]
    distances = [(score - row.targets["neutral"]) ** 2 for score, row in zip(scores, file.rows, strict=True)]
    neutral = suite["labels"]["neutral"]
    assert neutral["counts"]["called"] == sum(score >= 0.6 for score in scores)
    assert neutral["metrics"]["brier"]["value"] == pytest.approx(np.mean(distances))
    assert neutral["threshold"] == {"on": 0.6, "off": 0.4}
    assert suite["comparisons"][0]["all_labels"]["max_abs_delta_logit"] == 0.0
    assert "off: 0.40" in out.read_text("utf-8")


def test_the_calibration_data_is_refused_and_taken_with_a_warning(
    tiny: Tiny, data: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = calibrated_bundle(tiny, tmp_path / "calibrated", data)
    renamed = Path(shutil.copy(data, tmp_path / "renamed.csv"))
    assert run("--bundle", folder, "--data", renamed, "--out", out) == 1
    assert "was calibrated on this file" in capsys.readouterr().err
    assert not out.parent.exists()

    assert run("--bundle", folder, "--data", renamed, "--out", out, "--allow-calibration-data") == 0
    assert "These figures flatter" in out.read_text("utf-8")
    assert figures(out)["suites"]["renamed"]["data"]["is_calibration_data"]
    assert "warning: renamed: " in capsys.readouterr().err


# What it refuses: one line, exit code 1, nothing written.


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    assert run(*arguments, "--out", out) == 1
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert told.out == "" and lines[-1].startswith("error: ")
    assert not out.exists() and not out.with_suffix(".json").exists()
    assert "quagmire" not in told.err
    return lines[-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("text,neutral\n", "no rows"),
        ("text,neutral\nonly one,1\n", "at least 2"),
        ("text,joyful\none,1\ntwo,0\n", "labels"),
        ("text,neutral\none,\ntwo,\n", "no row says anything"),
        ("text,neutral\none,1\nxylophone-quagmire,maybe\n", ":3"),
    ],
    ids=["empty", "header only", "one row", "another checkpoint", "nothing known", "no truth value"],
)
def test_a_file_that_cannot_judge_is_refused(
    tiny: Tiny, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    data = tmp_path / "data.csv"
    data.write_text(content, encoding="utf-8")

    line = refused(capsys, out, "--bundle", tiny.bundle, "--data", data)

    assert str(data) in line and reason in line


def test_a_bundle_without_finite_logits_is_refused_with_the_row(
    tiny: Tiny, data: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = changed_bundle(tiny, tmp_path / "nan", "fp16", lambda weights: np.full_like(weights, np.nan))

    line = refused(capsys, out, "--bundle", broken, "--data", data)

    assert f"{data}:" in line and "non_finite_scores" in line


def test_bundles_that_do_not_belong_together_are_refused(
    tiny: Tiny, data: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("neutral", "depressed", "anxious", "tired")
    others = with_manifest(tiny, tmp_path / "labels", labels=labels, thresholds=dict.fromkeys(labels, 0.5))
    revision = with_manifest(tiny, tmp_path / "revision", revision="sha256:other")
    for folder, reason in (
        (others, "tired"),
        (revision, "another checkpoint"),
        (tiny.bundle, "two bundles are fp32 uncalibrated"),
    ):
        assert reason in refused(capsys, out, "--bundle", tiny.bundle, "--bundle", folder, "--data", data)


def test_a_bundle_that_would_not_be_served_is_not_evaluated(
    tiny: Tiny, data: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unproven = with_manifest(tiny, tmp_path / "unproven", parity=None)

    assert "parity gate has not run" in refused(capsys, out, "--bundle", unproven, "--data", data)


@pytest.mark.parametrize(
    ("suites", "reason"),
    [
        (["nofile"], "NAME=FILE"),
        (["=file.csv"], "NAME=FILE"),
        (["a=file.csv", "a=file.csv"], "two of that name"),
        (["a=missing.csv"], "no such file"),
    ],
)
def test_a_suite_must_have_a_name_of_its_own_and_a_file(
    tiny: Tiny, out: Path, capsys: pytest.CaptureFixture[str], suites: list[str], reason: str
) -> None:
    options = [word for suite in suites for word in ("--suite", suite)]

    assert reason in refused(capsys, out, "--bundle", tiny.bundle, *options)


def test_a_date_that_is_none_is_refused(
    tiny: Tiny, data: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")

    assert "SOURCE_DATE_EPOCH" in refused(capsys, out, "--bundle", tiny.bundle, "--data", data)


def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(
    tiny: Tiny, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    for out, reason in (
        (tmp_path / "report.pdf", "ends in .html"),
        (tmp_path / "folder.html", "this is a folder"),
        (data / "report.html", f"cannot write to {data}"),
    ):
        assert run("--bundle", tiny.bundle, "--data", data, "--out", out) == 1
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--resamples", "0"), ("--seed", "-1"), ("--seed", "x")])
def test_numbers_that_make_no_sense_are_a_matter_of_usage(tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--bundle", "b", "--data", "d.csv", "--out", str(tmp_path / "r.html"), *option])

    assert stopped.value.code == 2
