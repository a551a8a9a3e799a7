"""The Docker Engine of the tests: the one that runs here, else one started for them and stopped again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60.0
STOP_S = 30.0
SOCKET = Path("/var/run/docker.sock")
RUN = "INFCTL_TEST_RUN"
"""Names one run of the suite, in all its workers."""


def cache() -> Path:
    """Where images' inputs are kept from run to run."""
    home = os.environ.get("INFCTL_TEST_CACHE") or Path.home() / ".cache" / "infctl-tests"
    folder = Path(home)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_id() -> str:
    return os.environ[RUN]


@contextmanager
def alone(what: str) -> Iterator[None]:
    """One worker at a time, of all that run on this machine."""
    with (cache() / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def why_not() -> str:
    """Empty: an engine answers. Starts one where none does and that is possible."""
    if why := _compose_missing():
        return why
    if _answers():
        return ""
    if "DOCKER_HOST" in os.environ:
        return f"nobody answers at DOCKER_HOST={os.environ['DOCKER_HOST']}"
    if shutil.which("dockerd") is None or shutil.which("iptables") is None:
        return "no Docker Engine answers, and dockerd or iptables is not installed"
    if os.geteuid() != 0:
        return "no Docker Engine answers, and only root can start one"
    with alone("dockerd"):
        return "" if _answers() else _start()


def stop() -> None:
    """The engine that this run started; nothing where it started none."""
    mark = _mark()
    try:
        pid = int(mark.read_text())
    except FileNotFoundError:
        return
    mark.unlink()
    _end(pid)


def docker(*args: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *args], capture_output=True, text=True, timeout=timeout_s, check=False)


def _compose_missing() -> str:
    if shutil.which("docker") is None:
        return "the docker command is not installed"
    if docker("compose", "version").returncode != 0:
        return "docker has no compose: link .venv/bin/docker-compose into ~/.docker/cli-plugins"
    return ""


def _answers() -> bool:
    return docker("version", "--format", "{{.Server.Version}}").returncode == 0


def _mark() -> Path:
    return cache() / f"dockerd-{run_id()}.pid"


def _start() -> str:
    log = cache() / "dockerd.log"
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    # A session of its own: Ctrl-C at the tests must not end it before they have cleaned up.
    to_log = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
    pid = os.posix_spawnp("dockerd", ["dockerd"], os.environ, file_actions=to_log, setsid=True)
    os.close(out)
    _mark().write_text(str(pid))
    deadline = time.monotonic() + START_S
    while not _answers():
        if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
            last = log.read_text(errors="replace").splitlines()[-5:]
            stop()
            return "dockerd did not start: " + " / ".join(last)
        time.sleep(0.2)
    return ""


def _end(pid: int) -> None:
    """SIGTERM, then SIGKILL after `STOP_S`. The pid may be a child of another worker."""
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
