"""What a stream cost that its client left, against real vLLM: the tokens that were read, and how many more
the engine had computed by the time it noticed.
"""

from __future__ import annotations

import random
import re
from typing import Any

import httpx

from tests.e2e.local import Platform, until

STREAMS = 12
TENANT = "127.0.0.1"
MOST = 48


def generated(platform: Platform, client: httpx.Client) -> int:
    """Tokens that the chat engine has ever computed, as it says itself."""
    rows = client.get("/admin/backends", headers=admin(platform)).json()["backends"]
    url = next(row["url"] for row in rows if row["model"] == "chat")
    page = httpx.get(f"{url}/metrics").text
    found = re.findall(r"^vllm:generation_tokens_total\{.*\} (\S+)$", page, re.MULTILINE)
    return sum(int(float(value)) for value in found)


def admin(platform: Platform) -> dict[str, str]:
    return {"authorization": f"Bearer {platform.admin_key}"}


def settled(platform: Platform, client: httpx.Client) -> int:
    found = client.get(f"/admin/quota/{TENANT}", headers=admin(platform)).json()
    return next(int(row["settled"]) for row in found["limits"] if row["code"] == "tokens_per_day")


def left(client: httpx.Client, after: int) -> str:
    """A stream that is left after so many events. The request's id."""
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Count from one to a hundred, in words."}],
        "max_tokens": MOST,
        "min_tokens": MOST,
        "stream": True,
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200, reply.read()
        seen = 0
        for line in reply.iter_lines():
            seen += line.startswith("data: ")
            if seen >= after:
                break
        return reply.headers["x-request-id"]


def test_an_aborted_stream_settles_at_the_tokens_that_were_read(
    platform: Platform, record_property: Any
) -> None:
    chance = random.Random(6)
    with platform.client() as client:
        before, computed = settled(platform, client), generated(platform, client)
        ids = [left(client, chance.randint(2, MOST)) for _ in range(STREAMS)]

        def stories() -> list[dict[str, Any]] | None:
            found = [client.get(f"/admin/requests/{one}", headers=admin(platform)) for one in ids]
            return [one.json() for one in found] if all(one.status_code == 200 for one in found) else None

        told = until(stories, 30, "the stories of all streams")
        tokens = [story["tokens"] for story in told]
        assert not any(each["unknown"] for each in tokens)
        for story in told:
            call = story["request"]
            assert story["tokens"]["counted"] == call["prompt_tokens"] + call["completion_tokens"]
        counted = sum(each["counted"] for each in tokens)
        until(lambda: settled(platform, client) == before + counted, 10, f"{counted} tokens settled")
        answers = sum(story["request"]["completion_tokens"] for story in told)
        gap = generated(platform, client) - computed - answers
        record_property("generated beyond what was counted", gap)
        assert 0 <= gap <= STREAMS * 8, f"the engine computed {gap} tokens more than were counted"
