"""Practice 1, change default keys: is any key a default, weak, or used twice? No value is ever shown."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.profile.secrets import secret_uses, secret_values

DEFAULTS = (
    "changeme", "change-me", "change_me", "default", "password", "passwd", "secret", "admin", "test",
    "example", "your-", "your_", "yourkey", "letmein", "qwerty", "12345", "sk-1234", "foobar", "dummy",
    "placeholder", "todo", "xxxx", "insecure",
)  # fmt: skip
"""Parts of words that are nobody's secret."""
SHORT = 16
"""Characters; below it a key can be tried out."""
WEAK_BITS = 60.0
"""Of chance, by how often each character comes; 43 random ones of token_urlsafe have about 200."""
GOOD = "openssl rand -base64 32"
GRAFANA = "monitoring/grafana/admin_password"


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    path: str
    value: str


def look(case: Case) -> Iterator[Finding]:
    if case.loaded is None:
        return
    values = secret_values(case.loaded, case.env)
    uses = {use.name: use.path for use in secret_uses(case.profile)}
    keys = tuple(
        Key(name, uses[name], values[name]) for name in uses if name in values and _is_key(uses[name])
    )
    yield from judge(keys, _example(case))


def judge(keys: Sequence[Key], example: Mapping[str, str]) -> Iterator[Finding]:
    """`example`: what .env.example sets, which everybody can read."""
    if not keys:
        yield skipped("no key is set yet")
        return
    bad: set[str] = set()
    for key in keys:
        why = weakness(key.value, example.get(key.name, ""))
        if why:
            bad.add(key.name)
            yield failure(
                f"{key.name} {why}",
                why="whoever guesses it may use the models, or change the platform",
                fix=f"write a new one into .env ({GOOD}), then infctl up",
                path=key.path,
            )
    for names in shared(keys):
        bad |= {*names}
        paths = {key.name: key.path for key in keys}
        yield warning(
            f"{' and '.join(names)} are one and the same key",
            why="whoever has one has the other: clients could reach the engines or the control plane",
            fix=f"a key of its own for each ({GOOD})",
            path=paths[names[-1]],
        )
    if len(bad) < len(keys):
        yield ok(f"{len(keys) - len(bad)} of {len(keys)} keys are strong and of their own")


def weakness(value: str, example: str) -> str:
    """In words; empty: none is seen."""
    if example and value == example:
        return "is still the one of .env.example"
    low = value.lower()
    if any(part in low for part in DEFAULTS) and len(value) < 2 * SHORT:
        return "is a default or an example, not a secret"
    if len(value) < SHORT:
        return f"has {len(value)} characters, and fewer than {SHORT} can be tried out"
    if bits(value) < WEAK_BITS:
        return "repeats itself: its length says more than its characters"
    return ""


def bits(value: str) -> float:
    """Of chance in it, at most: each character by how often it comes in this very value."""
    counts = Counter(value).values()
    return -sum(count * math.log2(count / len(value)) for count in counts)


def shared(keys: Sequence[Key]) -> list[list[str]]:
    """Names that have one value between them."""
    by_value = defaultdict(list)
    for key in keys:
        by_value[key.value].append(key.name)
    return [names for names in by_value.values() if len(names) > 1]


def _is_key(path: str) -> bool:
    """Of the platform's own making; a hub's token and an address are others'. Grafana's is exposure's."""
    return not path.startswith(("engines/hub_token", "gateway/store/url", "monitoring/alerts", GRAFANA))


def _example(case: Case) -> Mapping[str, str]:
    from gateway.config import read_env  # noqa: PLC0415 - msgspec

    try:
        return read_env((case.folder / ".env.example").read_text(encoding="utf-8")[:65_536])
    except (OSError, UnicodeDecodeError):
        return {}
