from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from server import process
from server.errors import ExitCode, ServerError
from server.mended import CLASS, mend, write_mended


def test_three_bytes_of_one_class_are_other_than_torchserves(tmp_path: Path) -> None:
    write_mended(process.frontend_jar(), tmp_path)

    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert written == tmp_path / CLASS
    with zipfile.ZipFile(process.frontend_jar()) as archive:
        original = archive.read(CLASS)
    changed = [(old, new) for old, new in zip(original, written.read_bytes(), strict=True) if old != new]
    assert changed == [(0x99, 0x57), (0x12, 0x00)]  # the byte between them is 0 in both


def test_another_version_of_the_class_is_refused() -> None:
    with pytest.raises(ServerError, match=r"not that of TorchServe 0\.12\.0") as refused:
        mend(b"\xca\xfe\xba\xbe")
    assert refused.value.code is ExitCode.CONFIG_INVALID
