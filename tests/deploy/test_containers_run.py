"""The image run as a container: what it copies is enough, its user suffices, and nothing else is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.errors import ExitCode
from tests.deploy import container
from tests.deploy.dockerfiles import ROOT, stages
from tests.server.live import pack

REASON = container.why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@dataclass(frozen=True)
class Running:
    """A container that is ready, and what it printed until then."""

    container: container.Container
    printed: list[str]

    def get(self, port: int, path: str) -> str:
        return self.container.inside("curl", "--silent", f"http://127.0.0.1:{port}{path}").stdout

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.container.main}/status").read_text(encoding="ascii").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def files(self) -> set[str]:
        """Files in the folders that may be written to, as the container names them."""
        root = Path(f"/proc/{self.container.main}/root")
        folders = (root / "run" / "lantern", root / "tmp", root / "dev" / "shm")
        return {f"/{path.relative_to(root)}" for folder in folders for path in folder.rglob("*") if path.is_file()}


def lay_out(files: Path, store: Path) -> None:
    """Lay the files of the image out under ``files``, its own code as COPY does and the archive of ``store``."""
    stage = stages("Dockerfile")["baked"]
    workdir = Path(stage.last("WORKDIR"))
    for copy in (copy for copy in stage.copies if copy.stage is None):
        target = files / str(workdir / copy.target).lstrip("/")
        for source in copy.sources:
            found = store / Path(source).name if source.startswith("model_store/") else ROOT / source
            if found.is_dir():
                shutil.copytree(found, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, target)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("container")
    store, files = folder / "store", folder / "image"
    pack(store)
    lay_out(files, store)
    stage = stages("Dockerfile")["baked"]
    image = container.Image(
        files=files,
        environment={"PATH": "/usr/bin:/bin"} | stage.environment,
        workdir=stage.last("WORKDIR"),
        venv="/opt/lantern/venv",
        user=int(stage.last("USER").split(":")[0]),
        # The grace is for gateways, and there is none here.
        command=[*stage.words("ENTRYPOINT"), *stage.words("CMD"), "--drain-grace", "0"],
    )
    with container.run(image, folder) as started:
        printed: list[str] = []
        assert started.process.stdout is not None
        for line in started.process.stdout:
            printed.append(line)
            if "curl" in line:
                break
        yield Running(started, printed)


def test_it_gets_ready_with_the_files_of_the_image_alone(running: Running) -> None:
    assert running.container.process.poll() is None, running.printed
    assert json.loads(running.get(8083, "/readyz"))["status"] == "ready"
    assert json.loads(running.get(8083, "/livez"))["status"] == "alive"


def test_it_runs_as_the_images_user_without_any_capability(running: Running) -> None:
    status = running.status()

    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["NSpid"].split()[-1] == "1"


def test_it_writes_to_its_run_folder_alone_and_leaves_no_report_for_others(running: Running) -> None:
    written = running.files()

    assert {path for path in written if not path.startswith("/run/lantern/")} == set()
    assert "/run/lantern/server.json" in written


def test_management_is_on_loopback_and_the_rest_on_every_address(running: Running) -> None:
    listening = running.container.inside("ss", "--no-header", "--listening", "--tcp", "--numeric").stdout
    addresses = {
        line.split()[3].rpartition(":")[2]: line.split()[3].rpartition(":")[0] for line in listening.splitlines()
    }

    assert {port for port, host in addresses.items() if "127.0.0.1" in host} == {"8081", "7071"}
    assert {port for port, host in addresses.items() if host in ("*", "0.0.0.0")} == {"8080", "7070", "8082", "8083"}


def test_number_one_drains_and_ends_on_the_stop_signal(running: Running) -> None:
    assert running.container.stop() == ExitCode.OK
