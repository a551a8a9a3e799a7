"""A client of a running gateway: its control plane (`/health`, `/admin`) and, for a deep check, its models.

Every failure is a GatewayError that says what to do. Nothing here retries: the caller decides.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from infctl.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_CONNECT_S = 2.0
_CONTROL_S = 5.0
_PAGE = 500
ROWS_MAX = 20_000
"""Of a list: more is for a program that asks page by page."""
_BODY_BYTES_MAX = 8 * 1024 * 1024
"""Of an answer. A control plane that sends more is not ours."""


class KeyRefusedError(GatewayError):
    """The gateway takes another key there, or an admin's alone."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One model server as the gateway sees it."""

    id: str
    model: str
    url: str
    state: str
    """ready, loading, down, drained or draining."""
    in_flight: int
    requests: int
    errors: int
    last_probe_s_ago: float | None
    why: str
    breaker: str = "closed"
    """closed, open or half_open."""
    retry_in_s: float | None = None
    """Until an open breaker is tried."""
    capacity: int | None = None
    """Requests at once; None: not known."""
    expected_in_s: float | None = None
    """Until one that is loading is ready; None: not known, or it is."""


@dataclass(frozen=True, slots=True)
class Health:
    """What /health/detailed says."""

    status: str
    """ok, degraded or down."""
    version: str
    uptime_s: float
    draining: bool
    warnings: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    backends: tuple[Backend, ...]
    near_limits: tuple[Mapping[str, Any], ...] = ()
    """Tenants that have used 90 % of a quota; known to an admin alone."""


@dataclass(slots=True)
class Api:
    """`with Api("http://127.0.0.1:8000", key) as api: api.health()`."""

    url: str
    key: str | None = field(repr=False)
    key_name: str = "GATEWAY_API_KEY"
    """The variable the key came from: named when the gateway refuses it."""
    ca_file: Path | None = None
    """Certificate to trust besides the system's, for the TLS edge."""
    transport: httpx.BaseTransport | None = field(default=None, repr=False)
    """Another way to the gateway than this machine's own network."""
    _client: httpx.Client | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # The control plane

    def reachable(self) -> tuple[bool, str]:
        """(something answers /health over HTTP, or why not). Never raises: it is a question."""
        try:
            self._call("GET", "/health", timeout_s=_CONTROL_S)
        except GatewayError as error:
            return False, error.message
        return True, ""

    def health(self) -> Health:
        """Raises GatewayError when the gateway cannot be asked; a 503 with a body is an answer."""
        code, body = self._call("GET", "/health/detailed", timeout_s=_CONTROL_S)
        if code not in (200, 503):
            raise self._refused(code, body, "/health/detailed")
        try:
            return Health(
                status=str(body["status"]),
                version=str(body.get("version", "")),
                uptime_s=float(body.get("uptime_s", 0)),
                draining=bool(body.get("draining", False)),
                warnings=tuple(map(str, body.get("warnings", ()))),
                models=tuple(body.get("models", ())),
                backends=tuple(map(_backend, body.get("backends", ()))),
                near_limits=tuple(body.get("near_limits") or ()),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._not_ours("/health/detailed", error) from None

    def admin(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """One question to `/admin`; `query`: None is left out. Raises UsageError for what the gateway calls a
        mistake in it, GatewayError for all else but an answer.
        """
        from urllib.parse import urlencode  # noqa: PLC0415 - most commands ask nothing

        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        code, answer = self._call(
            method, f"{path}?{asked}" if asked else path, timeout_s=_CONTROL_S, body=body
        )
        if code in (200, 201):
            if not isinstance(answer, dict):
                raise self._not_ours(path, TypeError(f"a {type(answer).__name__}, not an object"))
            return answer
        said = answer.get("error", {}) if isinstance(answer, dict) else {}
        message = str(said.get("message", "")) if isinstance(said, dict) else ""
        if code == 400 and message:
            raise UsageError(message.rstrip("."))
        if code in (404, 409) and message:
            raise GatewayError(message.rstrip("."))
        raise self._refused(code, answer, path)

    def rows(self, path: str, field: str, **query: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """All pages of a list of `/admin`, at most ROWS_MAX rows; and the last page without them."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.admin("GET", path, query={"limit": _PAGE, "after": after, **query})
            try:
                found += page.pop(field)
                after = page.pop("next")
            except (KeyError, TypeError) as error:
                raise self._not_ours(path, error) from None
            if after is None or len(found) >= ROWS_MAX:
                return found[:ROWS_MAX], page

    # The models

    def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """One call of a model, never answered from a cache.

        Raises GatewayError with the gateway's own message for any answer but 200.
        """
        fresh = {"cache-control": "no-cache"}
        code, answer = self._call("POST", path, timeout_s=timeout_s, body=body, headers=fresh)
        if code != 200:
            raise self._refused(code, answer, path)
        if not isinstance(answer, dict):
            raise self._not_ours(path, TypeError(f"a {type(answer).__name__}, not an object"))
        return answer

    # Private

    def _call(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        import httpx  # noqa: PLC0415 - a tenth of a second that most commands do not need

        headers = {**(headers or {}), **({"authorization": f"Bearer {self.key}"} if self.key else {})}
        try:
            with self._open().stream(
                method,
                path,
                json=body,
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            ) as answer:
                text = bytearray()
                for chunk in answer.iter_bytes():
                    text += chunk
                    if len(text) > _BODY_BYTES_MAX:
                        too_long = ValueError(f"an answer of over {_BODY_BYTES_MAX:,} bytes")
                        raise self._not_ours(path, too_long)
                code = answer.status_code
        except httpx.ConnectError as error:
            raise GatewayError(
                f"nothing answers at {self.url}: {_reason(error)}",
                hint="infctl status shows what runs; infctl up starts it",
            ) from None
        except httpx.TimeoutException:
            raise GatewayError(
                f"{self.url}{path} gave no answer within {timeout_s:.0f} s",
                hint="infctl logs gateway --tail 20 shows what it does; infctl restart gateway starts it",
            ) from None
        except httpx.HTTPError as error:
            raise GatewayError(
                f"{self.url}{path}: {_reason(error)}",
                hint="is another program listening there? infctl status shows whose port it is",
            ) from None
        try:
            return code, json.loads(bytes(text)) if text else {}
        except ValueError as error:
            if code == 200:
                raise self._not_ours(path, error) from None
            return code, {}

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx  # noqa: PLC0415

            # Without TLS nothing is verified, and the system's certificates need not be read.
            trust: ssl.SSLContext | bool = self.url.startswith("https:")
            if trust and self.ca_file is not None:
                trust = ssl.create_default_context()
                trust.load_verify_locations(str(self.ca_file))
            # A proxy named in the environment is for the outside world, not for our own loopback.
            self._client = httpx.Client(
                base_url=self.url, verify=trust, trust_env=False, transport=self.transport
            )
        return self._client

    def _refused(self, code: int, body: Any, path: str) -> GatewayError:
        said = body.get("error", {}) if isinstance(body, dict) else {}
        message = str(said.get("message") or f"HTTP {code}") if isinstance(said, dict) else f"HTTP {code}"
        if code in (401, 403):
            return KeyRefusedError(
                f"{self.url}{path} refuses the key: {message}",
                hint=f"the key comes from {self.key_name} (environment, then .env beside the profile); "
                "after a change: infctl up",
            )
        return GatewayError(
            f"{self.url}{path} answered {code}: {message}",
            hint="infctl status shows each model server; infctl logs gateway --tail 20 what happened",
        )

    def _not_ours(self, path: str, why: Exception) -> GatewayError:
        return GatewayError(
            f"{self.url}{path} answered something that is not from this gateway ({why})",
            hint="is another program listening there? infctl status shows whose port it is",
        )


def _backend(row: Mapping[str, Any]) -> Backend:
    probe = row.get("last_probe_s_ago")
    breaker = row.get("breaker")
    if not isinstance(breaker, Mapping):
        breaker = {}
    return Backend(
        id=str(row["id"]),
        model=str(row["model"]),
        url=str(row.get("url", "")),
        state=str(row["state"]),
        in_flight=int(row.get("in_flight", 0)),
        requests=int(row.get("requests", 0)),
        errors=int(row.get("errors", 0)),
        last_probe_s_ago=None if probe is None else float(probe),
        why=str(row.get("why", "")),
        breaker=str(breaker.get("state", "closed")),
        retry_in_s=_number(breaker.get("retry_in_s")),
        capacity=None if (room := _number(row.get("capacity"))) is None else round(room),
        expected_in_s=_number(row.get("expected_in_s")),
    )


def _number(told: Any) -> float | None:
    return None if told is None else float(told)


def _reason(error: Exception) -> str:
    """The system's own words, without the library's wrapping."""
    text = str(error) or type(error).__name__
    return text.removeprefix("[Errno 111] ").lower() if text.startswith("[Errno 111]") else text
