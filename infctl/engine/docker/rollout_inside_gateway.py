"""Asked inside a gateway's container, by its own Python: python -c THIS CONFIG VERB [BACKEND [LIMIT_S]].

    look                  what the gateway says of its backends
    drain, undrain        of one backend
    idle, open            wait until it has nothing in flight, or takes requests; LIMIT_S at most

Answers with one line of JSON. It runs where no port has to be published and no key leaves the container: the
gateway's own configuration says where keys are, and only that package is used beside the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.config import Config, load, read_env

ANSWER_S = 15.0
"""The first question loads the control plane."""
POLL_S = 0.1


def main(file: str, verb: str, backend: str = "", limit_s: str = "0") -> int:
    config = load(Path(file))
    asked = _Gateway(f"http://127.0.0.1:{config.listen.port}", _admin_key(config, Path(file)))
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
        said |= {"drain_s": config.timeouts.drain_s, "stopping": asked.is_stopping()}
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


def _admin_key(config: Config, file: Path) -> str:
    """As the gateway finds it: the environment wins over files, a file of its own over `.env`."""
    env: dict[str, str] = {}
    if config.env_file is not None and (file.parent / config.env_file).exists():
        env = read_env((file.parent / config.env_file).read_text(encoding="utf-8"))
    for name, path in getattr(config, "secret_files", {}).items():
        env[name] = (file.parent / path).read_text(encoding="utf-8").strip()
    env |= {name: value for name, value in os.environ.items() if value}
    return env.get(config.keys.admin_env) or env.get(config.keys.shared_env or "") or ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
