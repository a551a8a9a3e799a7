"""Asked inside an engine's container, by its own Python: python3 -c THIS URL [KEY_FILE].

One real request of one token, because a vLLM can be healthy and answer nothing. Which one its model can
answer it finds out itself: a completion, else an embedding, else a ranking. Standard library only.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ANSWER_S = 110.0
"""The first one compiles."""
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/completions", {"prompt": "1", "max_tokens": 1, "temperature": 0}),
    ("/v1/embeddings", {"input": "1"}),
    ("/v1/rerank", {"query": "1", "documents": ["1"]}),
    ("/v1/score", {"text_1": "1", "text_2": "1"}),
)
NOT_THIS_ONE = (400, 404, 405, 501)
"""How servers say that a model has no such call."""


def main(url: str, key_file: str = "") -> int:
    key = Path(key_file).read_text(encoding="utf-8").strip() if key_file and Path(key_file).exists() else ""
    said = ""
    try:
        name = _ask(url, "/v1/models", key)["data"][0]["id"]
        for path, body in CALLS:
            try:
                _ask(url, path, key, {"model": name, **body})
            except urllib.error.HTTPError as error:
                said = said or f"{path} answered {error.code}: {error.read(500).decode('utf-8', 'replace')}"
                if error.code not in NOT_THIS_ONE:
                    break
            else:
                sys.stdout.write(f"{path}\n")
                return 0
    except (OSError, ValueError, LookupError, TypeError) as error:
        said = f"{type(error).__name__}: {error}"
    sys.stdout.write(f"{said}\n")
    return 1


def _ask(url: str, path: str, key: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, headers=headers)  # noqa: S310 - its own address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ANSWER_S) as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
