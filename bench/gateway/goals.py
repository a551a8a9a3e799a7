"""What the gateway is to reach beside the others of the same run, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound, and the figure of this run beside it; None: one of both could not be measured."""

    text: str
    value: float | None
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        if self.value is None or (self.most is None and self.least is None):
            return None
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    def data(self) -> dict[str, Any]:
        return {
            "what": self.text,
            "value": None if self.value is None else round(self.value, 4),
            "most": self.most,
            "least": self.least,
            "reached": self.reached,
        }

    def __str__(self) -> str:
        bound = f"<= {self.most:,.4g}" if self.most is not None else f">= {self.least:,.4g}"
        value = "-" if self.value is None else f"{self.value:,.4g}"
        verdict = {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]
        return f"{self.text:52} {value:>9}  {bound:>10}  {verdict}"


def goals(table: list[dict[str, Any]]) -> list[Goal]:
    """Of the rows `gateway` and `gateway-tenants`, beside the others of the same run."""
    by_name = {row["name"]: row for row in table}
    own, nginx = by_name.get("gateway"), by_name.get("nginx", {})
    if own is None:
        return []

    def ratio(key: str, other: str) -> float | None:
        mine, theirs = own.get(key), by_name.get(other, {}).get(key)
        return mine / theirs if mine is not None and theirs else None

    def beyond(of: Callable[[dict[str, Any]], float | None]) -> float | None:
        mine, floor = of(own), of(nginx)
        return mine - floor if mine is not None and floor is not None else None

    def with_tenants(other: str) -> float | None:
        mine, theirs = by_name.get("gateway-tenants", {}).get("rps"), by_name.get(other, {}).get("rps")
        return mine / theirs if mine and theirs else None

    def tenants_cost(row: str) -> float | None:
        whole, without = by_name.get(row, {}).get("cpu_us_per_request"), own["cpu_us_per_request"]
        return whole - without if whole and without else None

    def two_workers() -> float | None:
        both, one = by_name.get("gateway-x2", {}).get("cpu_us_per_request"), own["cpu_us_per_request"]
        return both / one if both and one else None

    def flat(key: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda row: row.get(key)

    def at_1024(key: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda row: row.get("streams", {}).get("1024", {}).get(key)

    idle, after = own["pss_idle_mb"], own["pss_after_mb"]
    growth = after / idle if idle and after else None
    return [
        Goal("requests/s a core, x nginx", ratio("rps", "nginx"), least=0.28),
        Goal("requests/s a core, x vllm-router", ratio("rps", "vllm-router"), least=1.7),
        Goal("requests/s a core, x smg", ratio("rps", "smg"), least=3),
        Goal("requests/s a core, x litellm", ratio("rps", "litellm"), least=300),
        Goal("... with tenants, quotas and audit on, x nginx", with_tenants("nginx"), least=0.24),
        Goal("... with tenants, quotas and audit on, x vllm-router", with_tenants("vllm-router"), least=1.4),
        Goal("CPU that these add to a request, us", tenants_cost("gateway-tenants"), most=12),
        Goal("... with the counts in Redis", tenants_cost("gateway-redis"), most=15),
        Goal("CPU a chunk, x nginx", ratio("cpu_ms_per_1k_chunks", "nginx"), most=1.8),
        Goal("CPU a chunk, x vllm-router", ratio("cpu_ms_per_1k_chunks", "vllm-router"), most=1.3),
        Goal("CPU a request with two workers, x with one", two_workers(), most=1.1),
        Goal("added p50 at one connection, us beyond nginx", beyond(flat("added_p50_us")), most=40),
        Goal("added p99 at one connection, us beyond nginx", beyond(flat("added_p99_us")), most=400),
        Goal("1,024 streams: lost", at_1024("lost")(own), most=0),
        Goal("1,024 streams: p99 gap, ms beyond nginx", beyond(at_1024("gap_p99_ms")), most=8),
        Goal("1,024 streams: p99 first token, ms beyond nginx", beyond(at_1024("first_p99_ms")), most=50),
        Goal("memory idle, MB", idle, most=80),
        Goal(f"memory after {own.get('requests_before', 0):,.0f} requests, x idle", growth, most=1.1),
        Goal(
            f"memory with {own.get('open_streams', 10_000):,.0f} open streams, MB",
            own.get("pss_open_streams_mb"),
            most=400,
        ),
    ]
