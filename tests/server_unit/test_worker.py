"""What a worker runs: TorchServe's script, without a module that it imports and hardly ever uses."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from server import process
from server.home import write_home
from server.worker import import_without


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heavy module, and one that imports it."""
    (tmp_path / "heavy_part.py").write_text("class Tensor: ...\n", encoding="utf-8")
    (tmp_path / "its_importer.py").write_text("import heavy_part\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("heavy_part", "its_importer"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
def test_what_is_imported_late_is_loaded_when_it_is_used() -> None:
    import_without("heavy_part", "its_importer")
    assert "heavy_part" not in sys.modules
    tensor = sys.modules["its_importer"].heavy_part.Tensor
    assert tensor is sys.modules["heavy_part"].Tensor


@pytest.mark.usefixtures("modules")
def test_other_importers_get_the_module_itself() -> None:
    import_without("heavy_part", "its_importer")
    heavy = importlib.import_module("heavy_part")
    assert vars(heavy)["Tensor"] is sys.modules["its_importer"].heavy_part.Tensor


def test_the_home_of_torchserve_has_our_script_and_is_no_package(tmp_path: Path) -> None:
    write_home(process.torchserve_site(), tmp_path)
    installed = process.torchserve_site() / "ts"
    assert (tmp_path / "ts/version.txt").read_text() == (installed / "version.txt").read_text()
    assert "import_without" in (tmp_path / "ts/model_service_worker.py").read_text(encoding="utf-8")
    assert not (tmp_path / "ts/__init__.py").exists()
