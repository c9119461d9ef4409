"""Archives that must not be served: ``server start`` ends with one line that says why."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from server.errors import ExitCode
from server.rundir import RunDir
from tests.ports import free_ports
from tests.server.live import MODEL, ROOT, Live, Packed, repack, start_command

_SMOKE_TEXT = "quenbladderwick morning"


def _start(packed: Packed, folder: Path, name: str, change: Callable[[bytes], bytes]) -> tuple[int, list[str]]:
    """Try to serve the archive with one file changed; return the exit status and what was printed."""
    archive = repack(packed.archive, folder / "store" / f"{MODEL}.mar", name, change)
    done = subprocess.run(
        start_command(archive, folder / "run", free_ports()),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def _leftovers(run_dir: Path) -> list[list[str]]:
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [command for command in commands if any(str(run_dir) in argument for argument in command)]


@pytest.mark.parametrize("name", ["bundle/model.onnx.data"])
def test_one_changed_byte_of_the_bundle_is_refused(packed: Packed, tmp_path: Path, name: str) -> None:
    code, lines = _start(packed, tmp_path, name, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    assert code == ExitCode.LOAD_FAILED
    (reason,) = (line for line in lines if line.startswith("server: "))
    assert lines[-1] == reason
    assert reason.startswith("server: the model could not be loaded: ")
    assert f"{name} is not the file that bundle.json lists (sha256 differs)" in reason
    assert "Traceback" not in "".join(lines)
    assert _leftovers(tmp_path) == []


def test_smoke_entry_with_another_label_is_refused(live: Live, packed: Packed, tmp_path: Path) -> None:
    labels = sorted(live.post({"text": _SMOKE_TEXT}).json()["labels"], key=lambda label: float(label["score"]))
    wrong, right = labels[0]["name"], labels[-1]["name"]

    def expect_wrong(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"smoke": [{"text": _SMOKE_TEXT, "expected": wrong}]}).encode()

    code, lines = _start(packed, tmp_path, "bundle/bundle.json", expect_wrong)
    assert code == ExitCode.LOAD_FAILED
    assert lines[-1] == (
        f"server: the model could not be loaded: smoke entry 1 came out as {right} instead of {wrong}: "
        "the labels are in the wrong order, or the graph is not this checkpoint's"
    )
    logs = b"".join(path.read_bytes() for path in RunDir(tmp_path / "run").logs.iterdir())
    assert _SMOKE_TEXT.encode() not in logs
    assert _leftovers(tmp_path) == []


def test_a_policy_with_a_wrong_threshold_is_refused_with_its_key(packed: Packed, tmp_path: Path) -> None:
    def raise_off(content: bytes) -> bytes:
        start = "depressed: { kind: risk, means: depression, on: 0.70, off: "
        right, wrong = (f"{start}{off}".encode() for off in ("0.55", "0.75"))
        assert right in content
        return content.replace(right, wrong)

    code, lines = _start(packed, tmp_path, "handlers/config/policy.yaml", raise_off)
    assert code == ExitCode.LOAD_FAILED
    assert lines[-1].startswith("server: the model could not be loaded: ")
    assert "labels.depressed.off" in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert _leftovers(tmp_path) == []
