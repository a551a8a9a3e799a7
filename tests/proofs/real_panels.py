"""`make proof-panels`: every panel of every dashboard has data of the real thing.

Real vLLM on the CPU, started by `infctl up` with the local profile's two models; a real gateway before it, a
real Prometheus with the rendered configuration and rules, that reads both. A stub stands beside vLLM for what
no healthy engine does: it hangs up. GPUs are what was recorded of real cards.

    python -m tests.proofs.real_panels

The last line is the figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.local import UP_WITHIN_S, Platform, make
from tests.infctl.monitoring.queries import panels
from tests.proofs.alerts import CLIENT, LIMIT_S, Engines, World, exhaust, never_filled

SCALE = 0.01
WARM_UP_S = 2.0
LONG = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Count from one to twenty, in words."}],
    "max_tokens": 24,
    "stream": True,
}


def engines(platform: Platform) -> Engines:
    """As its gateway knows them."""
    with platform.client() as client:
        head = {"authorization": f"Bearer {platform.admin_key}"}
        backends = client.get("/admin/backends", headers=head).json()["backends"]
    found = {each["model"]: each["url"].removeprefix("http://") for each in backends}
    return Engines(found["chat"], found["embed"], platform.env["BACKEND_API_KEY"])


@dataclass(frozen=True)
class Found:
    panels: int
    of_vllm: int
    of_cards: int
    empty: list[str]
    generated: float
    """Tokens of answers that the real engines have told of."""

    def __str__(self) -> str:
        return (
            f"proof-panels: {self.panels - len(self.empty)} of {self.panels} panels with data;"
            f" {self.of_vllm} of them ask real vLLM, which has written {self.generated:,.0f} tokens,"
            f" {self.of_cards} what was recorded of cards"
        )


def run(folder: Path, real: Engines) -> Found:
    world = World(folder, SCALE, real)
    with world.close:
        time.sleep(WARM_UP_S)
        exhaust(world)
        url = world.gateway.url
        with httpx.Client(base_url=url, timeout=LIMIT_S, trust_env=False) as client:
            for _ in range(2):
                client.post("/v1/chat/completions", json=LONG, headers=CLIENT)
        empty = never_filled(world)
        asked = panels(world.terms)
        queries = [" ".join(query.expr for query in panel.queries) for _, panel in asked]
        text = httpx.get(f"http://{real.chat}/metrics", trust_env=False).text
        written = re.findall(r"^vllm:generation_tokens_total\{.*\} (\S+)$", text, re.MULTILINE)
        return Found(
            panels=len(asked),
            of_vllm=sum("vllm:" in query for query in queries),
            of_cards=sum("DCGM_" in query for query in queries),
            empty=empty,
            generated=sum(map(float, written)),
        )


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="panels-") as folder:
        (home := Path(folder, "platform")).mkdir()
        (place := Path(folder, "world")).mkdir()
        platform = make(home)
        done = platform.run("up", "-y", timeout_s=UP_WITHIN_S)
        try:
            if done.returncode:
                sys.stdout.write(done.stdout + done.stderr)
                return 1
            found = run(place, engines(platform))
        finally:
            platform.run("down", "-y", timeout_s=120)
    for each in found.empty:
        sys.stdout.write(f"{each}\n")
    sys.stdout.write(f"{found}\n")
    return 1 if found.empty or not found.generated else 0


if __name__ == "__main__":
    sys.exit(main())
