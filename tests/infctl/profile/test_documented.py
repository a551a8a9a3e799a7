"""Every variable a platform listens to is explained, with what holds without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import read_env
from infctl.profile.documented import Documented, documented
from infctl.profile.environment import VARIABLES
from infctl.profile.interpolation import names
from infctl.profile.loading import load
from infctl.render import env_example

PROFILE = """
name: ${NAME:-p}
models:
  chat: {source: a/b, task: chat, max_model_len: "${LENGTH:-${FALLBACK:-4096}}"}
gateway: {limits: {burst: 7}, tenants: {team: {keys: "${TEAM_KEY}"}}}
secrets: {BACKEND_API_KEY: {generate: true}, TEAM_KEY: {env: TEAMS}, ADMIN_API_KEY: {file: x}}
"""


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., dict[str, Documented]]:
    def of(text: str = PROFILE, **env: str) -> dict[str, Documented]:
        file = tmp_path / "p.yaml"
        file.write_text(text)
        return {one.name: one for one in documented(load((file,), env))}

    return of


def test_each_variable_is_said_once(said: Callable[..., dict[str, Documented]]) -> None:
    assert list(said()) == [
        "GATEWAY_API_KEY", "BACKEND_API_KEY", "TEAMS", "GRAFANA_ADMIN_PASSWORD", "HF_TOKEN",
        *VARIABLES, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "NAME", "LENGTH", "FALLBACK",
    ]  # fmt: skip


def test_the_reference_platforms_variables_carry_the_profiles_own_values(
    said: Callable[..., dict[str, Documented]],
) -> None:
    assert (said()["RPS_BURST"].default, said()["ORG_MONTHLY_TOKEN_LIMIT"].default) == ("7", "300000000")
    assert said(RPS_BURST="99")["RPS_BURST"].default == "7", "whatever .env says by now"


def test_a_switch_is_said_as_it_is_written(said: Callable[..., dict[str, Documented]]) -> None:
    assert (said()["CACHE_ENABLED"].default, said()["POOL_MAX_KEEPALIVE"].default) == ("true", "800")


def test_what_must_be_set_is_told_from_what_may(said: Callable[..., dict[str, Documented]]) -> None:
    required = {name for name, one in said().items() if one.required}
    assert required == {"GATEWAY_API_KEY", "TEAMS"}
    assert said()["TEAMS"].meaning == "a key of the tenant team"
    assert "makes one up" in said()["BACKEND_API_KEY"].meaning


def test_the_profiles_own_variables_carry_their_defaults(said: Callable[..., dict[str, Documented]]) -> None:
    found = said()
    assert (found["NAME"].default, found["NAME"].meaning) == ("p", "name of the profile")
    assert (found["LENGTH"].default, found["FALLBACK"].default) == ("${FALLBACK:-4096}", "4096")


def test_copied_as_it_is_it_changes_nothing_but_what_it_asks_for(
    said: Callable[..., dict[str, Documented]],
) -> None:
    text = env_example.render("p", said().values()).text
    assert read_env(text) == {"GATEWAY_API_KEY": "", "TEAMS": ""}
    uncommented = read_env(text.replace("\n# ", "\n"))
    assert uncommented["MAX_RPS_PER_IP"] == "50"
    assert uncommented["GRAFANA_ADMIN_PASSWORD"] == "admin"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a ${B} c", [("B", "")]),
        ("${A:-x}${B-${C:?no}}", [("A", "x"), ("B", "${C:?no}"), ("C", "")]),
        ("$$x $${A} $$${B}", [("B", "")]),
        ("${A", []),
        ("${1}", []),
    ],
)
def test_variables_of_a_text(text: str, found: list[tuple[str, str]]) -> None:
    assert list(names(text)) == found
