"""The Java process of TorchServe and the workers it starts: command line, environment, life and end."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

from handlers.gate import RUN_DIR_VARIABLE
from server.errors import ExitCode, ServerError
from server.rundir import RunDir
from server.settings import StartSettings

_PR_SET_PDEATHSIG: Final = 1
_WORKERS_END_SECONDS: Final = 3.0
_KILL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05

# PYTHONPATH would come before the extracted archive and could shadow its `handlers`; the others would make TorchServe
# read another configuration than ours.
_DROPPED_VARIABLES: Final = ("PYTHONPATH", "TS_CONFIG_FILE", "TS_MODEL_SERVER_HOME")


def command(java: Path, settings: StartSettings, properties: Mapping[str, str]) -> list[str]:
    """Return the command line that TorchServe's own launcher would build, with temporary files and logs of ours."""
    run_dir = settings.run_dir
    return [
        str(java),
        *shlex.split(properties.get("vmargs", "")),
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={run_dir.logs / 'java-crash.log'}",
        f"-Dmodel_server_home={run_dir.home}",
        f"-Djava.io.tmpdir={run_dir.temp}",
        f"-Dlog4j.configurationFile={run_dir.log_config.as_uri()}",
        "-cp",
        os.pathsep.join([str(run_dir.mended), str(torchserve_site() / "ts" / "frontend" / "*")]),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(run_dir.config_file),
        "-s",
        str(settings.archive.parent),
        "-ncs",
        "-m",
        f"{settings.model}={settings.archive.name}",
    ]


def frontend_jar() -> Path:
    """Return the archive of TorchServe's own Java classes."""
    return torchserve_site() / "ts" / "frontend" / "model-server.jar"


def environment(inherited: Mapping[str, str], run_dir: RunDir) -> dict[str, str]:
    """Return the environment of Java, which hands it on to the workers."""
    kept = {name: value for name, value in inherited.items() if name not in _DROPPED_VARIABLES}
    temp = str(run_dir.temp)
    return kept | {
        "LOG_LOCATION": str(run_dir.logs),
        "METRICS_LOCATION": str(run_dir.logs),
        "TMPDIR": temp,
        "TEMP": temp,
        "TMP": temp,
        RUN_DIR_VARIABLE: str(run_dir.path),
        "TOKENIZERS_PARALLELISM": inherited.get("TOKENIZERS_PARALLELISM", "false"),
        # From 1.29 on, ONNX Runtime reports models and machine to its maker unless this is there when it is loaded.
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }


class JavaServer:
    """A running TorchServe.

    It leads a session of its own, so that Ctrl-C on the terminal reaches only its supervisor, and so that the workers
    can be found by that session even when Java is gone.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(
        cls, arguments: list[str], environment: Mapping[str, str], run_dir: RunDir, stdout: int | None = None
    ) -> JavaServer:
        """Start Java in the run folder, where no `handlers` package lies.

        What it prints goes to ``java.log``, or standard output to the file descriptor ``stdout`` where one is given.
        """
        with run_dir.java_log.open("wb") as output:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                cwd=run_dir.path,
                env=dict(environment),
                start_new_session=True,
                # Safe only because no thread has been started yet.
                preexec_fn=_child_setup(),
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id of Java, which is also that of its session."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return how Java ended, or ``None`` while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Send SIGTERM to Java, if it still runs."""
        self._process.terminate()

    def end(self, *, at_once: bool = False) -> None:
        """Leave no process of the session: workers end by themselves when Java is gone, the rest is killed."""
        if not at_once and self.exit_code() is not None:
            self._wait_until_alone(_WORKERS_END_SECONDS)
        for member in self.members():
            _kill(member)
        self._process.wait(_KILL_SECONDS)
        self._wait_until_alone(_KILL_SECONDS)

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the session, Java among them."""
        return [process for process in psutil.process_iter() if _is_member(process, self.pid)]

    def _wait_until_alone(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.members() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def kill_leftovers(run_dir: RunDir) -> None:
    """Kill what a killed supervisor left: a worker until its batch ends and, where there is no death signal, Java.

    Only for the owner of the run folder: its temporary folder in their command lines tells whose they are.
    """
    marks = (f"-Djava.io.tmpdir={run_dir.temp}", f"{run_dir.temp}/.ts.sock.")
    for process in psutil.process_iter():
        if any(argument.startswith(marks) for argument in _command_line(process)):
            _kill(process)


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def torchserve_site() -> Path:
    """Return the folder that TorchServe's package was installed in.

    Raises:
        ServerError: it was not installed.
    """
    spec = importlib.util.find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            ExitCode.CONFIG_INVALID, f"TorchServe is not installed for {sys.executable}; run `make setup`"
        )
    return Path(next(iter(spec.submodule_search_locations))).parent


def _child_setup() -> Callable[[], None]:
    """Return what the child does before it becomes Java; libraries are loaded here, not after the fork."""
    supervisor = os.getpid()
    set_death_signal = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def setup() -> None:
        # A core dump of Java or a worker would hold request texts.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if set_death_signal is not None:
            set_death_signal(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(1)

    return setup


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
