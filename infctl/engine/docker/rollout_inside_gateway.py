"""Asked inside a gateway's container, by its own Python: python -c THIS CONFIG VERB [BACKEND [LIMIT_S]].

    look                  what the gateway says of its backends
    drain, undrain        of one backend
    idle, open            wait until it has nothing in flight, or takes requests; LIMIT_S at most

Answers with one line of JSON. It runs where no port has to be published and no key leaves the container. The
file may be newer than the gateway that runs: only what is needed of it is read, by the image's YAML reader.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

ANSWER_S = 15.0
"""The first question loads the control plane."""
POLL_S = 0.1
DRAIN_S = 120.0
"""Where the file says nothing."""
_ENV_LINE = re.compile(r"""(?m)^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*("[^"\n]*"|'[^'\n]*'|[^\s#]*)""")


def main(file: str, verb: str, backend: str = "", limit_s: str = "0") -> int:
    config: dict[str, Any] = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    port = config.get("listen", {}).get("port", 8000)
    asked = _Gateway(f"http://127.0.0.1:{port}", _admin_key(config, Path(file).parent))
    deadline = time.monotonic() + float(limit_s)
    try:
        if verb in ("drain", "undrain"):
            asked.ask("POST", f"/admin/backends/{quote(backend)}/{verb}")
        while verb in ("idle", "open") and time.monotonic() < deadline:
            state = asked.state(backend)
            if state == ("ready" if verb == "open" else "drained"):
                break
            if verb == "idle" and state not in ("draining", "gone"):  # the gateway was started again
                asked.ask("POST", f"/admin/backends/{quote(backend)}/drain")
                continue
            time.sleep(POLL_S)
        said = asked.ask("GET", "/admin/backends")
        said |= {
            "drain_s": config.get("timeouts", {}).get("drain_s", DRAIN_S),
            "stopping": asked.is_stopping(),
        }
    except OSError as error:
        sys.stderr.write(f"the gateway does not answer: {error}\n")
        return 1
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


class _Gateway:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """Raises OSError, also for an answer that is none."""
        request = urllib.request.Request(self._url + path, method=method, headers=self._headers)  # noqa: S310 - its own address
        with self._opener.open(request, timeout=ANSWER_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def state(self, backend: str) -> str:
        for one in self.ask("GET", "/admin/backends")["backends"]:
            if one["id"] == backend:
                return str(one["state"])
        return "gone"

    def is_stopping(self) -> bool:
        try:
            self.ask("GET", "/health/ready")
        except urllib.error.HTTPError as error:
            return b"draining" in error.read()
        return False


def _admin_key(config: dict[str, Any], folder: Path) -> str:
    """As the gateway finds it: the environment wins over files, a file of its own over `.env`."""
    names, env = config.get("keys", {}), {}
    env_file = folder / (config.get("env_file") or "")
    if env_file.is_file():
        found = _ENV_LINE.findall(env_file.read_text(encoding="utf-8"))
        env = {name: value.strip("\"'") for name, value in found}
    for name, path in (config.get("secret_files") or {}).items():
        env[name] = (folder / path).read_text(encoding="utf-8").strip()
    env |= {name: value for name, value in os.environ.items() if value}
    shared = names.get("shared_env", "GATEWAY_API_KEY")
    return env.get(names.get("admin_env", "ADMIN_API_KEY")) or env.get(shared or "") or ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
