"""A container without a container engine: a root of its own that holds what the image would, read-only, as its user.

Linux namespaces give what matters here: another root, process ids of its own (the server is number 1), no network but
its own loopback, and no way to write outside the mounts that the image's user may write to.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TOOLS: Final = ("unshare", "setpriv", "nsenter", "ip", "chroot", "mount")
# The base image's part: the machine's own libraries, and the Python that the virtual environment was made with.
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
_SCRIPT: Final = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 root "$ROOT"
cp -a "$IMAGE/." "$ROOT/"
for path in $SYSTEM "$BASE"; do
    [ -e "$path" ] || continue
    if [ -L "$path" ]; then cp -a "$path" "$ROOT$path"; continue; fi
    mkdir -p "$ROOT$path"; mount --bind "$path" "$ROOT$path"; mount -o remount,bind,ro "$ROOT$path"
done
mkdir -p "$ROOT$VENV"; mount --bind "$PREFIX" "$ROOT$VENV"; mount -o remount,bind,ro "$ROOT$VENV"
mkdir -p "$ROOT/proc" "$ROOT/dev" "$ROOT/tmp" "$ROOT/run/lantern"
mount -t proc proc "$ROOT/proc"
for device in null zero random urandom; do
    touch "$ROOT/dev/$device"; mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mount -t tmpfs -o mode=1777,noexec,nosuid,nodev,size=64m tmp "$ROOT/tmp"
mount -t tmpfs -o "mode=700,uid=$OWNER,gid=$OWNER,nosuid,nodev,size=512m" run "$ROOT/run/lantern"
mount -o remount,ro "$ROOT"
ip link set lo up
exec chroot "$ROOT" /usr/bin/setpriv --reuid "$OWNER" --regid "$OWNER" --clear-groups --no-new-privs \
    --bounding-set -all --inh-caps -all -- /usr/bin/env -i -C "$WORKDIR" "$@"
"""


def why_not() -> str:
    """Return why no container can be run here, or an empty text."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if sys.platform != "linux" or missing:
        return f"a container needs Linux with {', '.join(missing) or 'namespaces'} (util-linux, iproute2)"
    if os.geteuid() != 0:
        return "a container needs root, to make namespaces"
    tried = subprocess.run(
        [*_NAMESPACES, "true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return f"no namespaces can be made here: {tried.stderr.strip()}" if tried.returncode else ""


_NAMESPACES: Final = ("unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child")


@dataclass(frozen=True)
class Image:
    """What the container holds, and how it starts: ``files`` is a folder with the paths of the image."""

    files: Path
    environment: Mapping[str, str]
    workdir: str
    venv: str
    user: int
    command: Sequence[str]


@dataclass(frozen=True)
class Container:
    """A running container."""

    process: subprocess.Popen[str]

    @property
    def main(self) -> int:
        """Process id, outside, of the container's number 1."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return int(children.split()[0])

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the container's network."""
        entered = ["nsenter", "--target", str(self.main), "--net", "--", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=60, check=False)

    def stop(self) -> int:
        """Send number 1 the signal of the image, and return the exit status."""
        os.kill(self.main, signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def run(image: Image, folder: Path) -> Iterator[Container]:
    """Start a container; kill it at the end, with everything in it."""
    root = folder / "root"
    root.mkdir()
    settings = {
        "ROOT": str(root),
        "IMAGE": str(image.files),
        "SYSTEM": " ".join(_SYSTEM),
        "BASE": sys.base_prefix,
        "PREFIX": sys.prefix,
        "VENV": image.venv,
        "OWNER": str(image.user),
        "WORKDIR": image.workdir,
    }
    variables = [f"{name}={value}" for name, value in image.environment.items()]
    process = subprocess.Popen(
        [*_NAMESPACES, "sh", "-c", _SCRIPT, "sh", *variables, *image.command],
        env={"PATH": os.environ["PATH"]} | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Container(process)
    finally:
        process.kill()
        process.wait()
