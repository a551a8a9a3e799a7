"""Asks several pages at once, here or inside a container: its own source is what is run there.

stdin: {"asks": [{"name", "url", "method", "headers", "body", "timeout_s", "every"}],
        "rounds", "gap_s", "keep"}
stdout: {"at": [seconds ...], "rounds": [{name: {"status", "body", "date", "wall"} or {"error", "why"}}]}

`keep`: of each body only the lines that begin so (one beginning, or several); empty: all of it. `date`: the
header, or empty; `wall`: this machine's clock before and after, Unix. Of the standard library alone, and of
a Python that a gateway's image has. `every`: a name with several addresses, each of which is asked in the
place of the URL's host; the answers are called NAME, NAME#2, NAME#3 ... Where it is nobody's name, the URL's.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

ADDRESSES_MAX = 16
BODY_BYTES_MAX = 8 * 1024 * 1024


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def rounds(job: dict[str, Any]) -> dict[str, Any]:
    """Every page once a round, all pages of a round at the same time."""
    found: list[dict[str, Any]] = []
    times: list[float] = []
    for number in range(int(job.get("rounds", 1))):
        if number:
            time.sleep(float(job.get("gap_s", 0.0)))
        times.append(time.monotonic())
        keep = job.get("keep") or ""
        asks = [one for ask in job["asks"] for one in _each(ask)]
        found.append(_round(asks, (keep,) if isinstance(keep, str) else tuple(keep)))
    return {"at": times, "rounds": found}


def _each(ask: dict[str, Any]) -> list[dict[str, Any]]:
    if not ask.get("every"):
        return [ask]
    place = urllib.parse.urlsplit(ask["url"])
    try:
        rows = socket.getaddrinfo(ask["every"], place.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return [ask]
    hosts = sorted({f"[{row[4][0]}]" if ":" in str(row[4][0]) else str(row[4][0]) for row in rows})
    port = f":{place.port}" if place.port else ""
    return [
        {
            **ask,
            "name": ask["name"] if number == 1 else f"{ask['name']}#{number}",
            "url": place._replace(netloc=f"{host}{port}").geturl(),
        }
        for number, host in enumerate(hosts[:ADDRESSES_MAX], start=1)
    ]


def _round(asks: list[dict[str, Any]], keep: tuple[str, ...]) -> dict[str, Any]:
    answers: dict[str, Any] = {}

    def one(ask: dict[str, Any]) -> None:
        answers[ask["name"]] = _ask(ask, keep)

    threads = [threading.Thread(target=one, args=(ask,), daemon=True) for ask in asks]
    for thread in threads:
        thread.start()
    for thread, ask in zip(threads, asks, strict=True):
        thread.join(float(ask.get("timeout_s", 5.0)) + 5.0)
    late = {"error": "timeout", "why": "no answer in time"}
    return {ask["name"]: answers.get(ask["name"], late) for ask in asks}


def _ask(ask: dict[str, Any], keep: tuple[str, ...]) -> dict[str, Any]:
    body = ask.get("body")
    request = urllib.request.Request(  # noqa: S310 - the addresses are the stack's own
        ask["url"],
        data=body.encode() if body is not None else None,
        headers=ask.get("headers") or {},
        method=ask.get("method", "GET"),
    )
    # A proxy named in the environment is for the outside world, and no answer sends us elsewhere with a key.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    begun = time.time()
    try:
        with opener.open(request, timeout=float(ask.get("timeout_s", 5.0))) as answer:
            date, wall = answer.headers.get("date") or "", [begun, time.time()]
            told = _answer(answer.status, answer.read(BODY_BYTES_MAX + 1), keep)
            return {**told, "date": date, "wall": wall}
    except urllib.error.HTTPError as error:
        with error:
            date, wall = error.headers.get("date") or "", [begun, time.time()]
            return {**_answer(error.code, error.read(BODY_BYTES_MAX + 1), keep), "date": date, "wall": wall}
    except TimeoutError:
        return {"error": "timeout", "why": "no answer in time"}
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return {"error": "timeout", "why": "no answer in time"}
        return {"error": "connect", "why": str(getattr(error.reason, "strerror", "") or error.reason)}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"error": "read", "why": str(error) or type(error).__name__}


def _answer(status: int, raw: bytes, keep: tuple[str, ...]) -> dict[str, Any]:
    if len(raw) > BODY_BYTES_MAX:
        return {"error": "read", "why": f"an answer of over {BODY_BYTES_MAX:,} bytes"}
    text = raw.decode("utf-8", "replace")
    if any(keep):  # by "\n" alone: a label of a metric may hold what else ends a line
        text = "\n".join(line for line in text.split("\n") if line.startswith(keep))
    return {"status": status, "body": text}


if __name__ == "__main__":
    json.dump(rounds(json.load(sys.stdin)), sys.stdout)
