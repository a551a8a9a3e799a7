"""The ssh command that reaches a Docker engine elsewhere, and whether it does. `transport` talks by it."""

from __future__ import annotations

import shutil
import subprocess
from urllib.parse import urlsplit

from infctl.errors import EngineError

CONNECT_S = 20
"""Until the other machine has to have answered."""


def argv(address: str) -> list[str]:
    """`ssh://user@host:22` -> the command. Raises EngineError where it names no host."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if not host or host.startswith("-"):
        raise EngineError(f"{address} names no host", hint="write ssh://user@host")
    words = ["ssh", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "BatchMode=yes", "-T"]
    if parts.username:
        words += ["-l", parts.username]
    if parts.port:
        words += ["-p", str(parts.port)]
    return [*words, "--", host, "docker", "system", "dial-stdio"]


def check(address: str) -> None:
    """Once before the first connection. Raises EngineError with what ssh says."""
    if shutil.which("ssh") is None:
        raise EngineError(
            "there is no ssh here, and DOCKER_HOST asks for it", hint="install OpenSSH's client"
        )
    words = [*argv(address)[:-2], "version", "--format", "{{.Server.APIVersion}}"]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=2 * CONNECT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"{address} does not answer",
            hint=f"try it by hand: `ssh {urlsplit(address).netloc} docker version`",
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise EngineError(
            f"the Docker engine at {address} cannot be reached: {said[-1] if said else 'ssh failed'}",
            hint=f"try it by hand: `ssh {urlsplit(address).netloc} docker version`",
            log=said[-5:],
        )
