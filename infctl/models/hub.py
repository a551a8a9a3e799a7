"""Asks a Hugging Face hub for a model's small files and the headers of its weights. The weights stay there.

The only part of planning that opens a connection. Every answer has a limit in bytes, every question one in
time, and the token goes to the hub alone, never to the host it redirects to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urljoin, urlsplit

from infctl.errors import PlanError
from infctl.in_time import answer
from infctl.models import headers
from infctl.models.document import BYTES_MAX as CONFIG_BYTES_MAX
from infctl.models.files import CONFIG, Files, beside, decoded

if TYPE_CHECKING:
    import httpx

ENDPOINT = "https://huggingface.co"
"""Where HF_ENDPOINT names no other."""
REDIRECTS_MAX = 5
"""The hub answers for large files with the address of a store."""
FIRST_BYTES = 128 * 1024
"""Asked of a safetensors file at first; most headers are shorter, and one question is enough."""
SHARDS_MAX = 32
"""Files whose headers are asked for. With more, the index's own sum is taken."""
AT_ONCE = 8
"""Connections."""

Why = Literal["unreachable", "refused", "missing", "answer"]
"""unreachable: nobody answers in time, or it is busy or broken. refused: 401, 403. missing: 404. answer: it
says what no hub would say."""


class HubError(Exception):
    """Why the hub did not give a file, in words."""

    def __init__(self, why: Why, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.why = why
        self.hint = hint


@dataclass(slots=True)
class Hub:
    """One hub, for one run. It keeps connections until it is closed."""

    endpoint: str
    timeout_s: float
    """For one model's config with all it needs, and once more for the headers of its weights."""
    token: str = field(default="", repr=False)
    down: HubError | None = None
    """It could not be reached: it is not asked again in this run."""
    _client: httpx.Client | None = field(default=None, repr=False)

    def close(self) -> None:
        """Of its connections."""
        if self._client is not None:
            self._client.close()

    def model(self, hub_id: str, revision: str) -> Files:
        """The small files of a model, and the bytes of its weights where its headers can be read.

        Raises HubError for config.json; what else cannot be read is told in `warnings`.
        """
        if self.down is not None:
            raise self.down
        try:
            return answer(lambda: self._model(hub_id, revision), 2 * self.timeout_s + 1.0)
        except TimeoutError:  # a name server that is silent listens to no time limit of ours
            self.down = HubError("unreachable", f"{_host(self.endpoint)} was not found in time")
            raise self.down from None
        except HubError as error:
            if error.why == "unreachable":
                self.down = error
            raise

    def _model(self, hub_id: str, revision: str) -> Files:
        self._open()  # what has to be imported for it is not the hub's time
        repo = _Repo(self, hub_id, revision, time.monotonic() + self.timeout_s)
        place = f"{hub_id}@{revision}/{CONFIG}"
        raw = repo.need(CONFIG, CONFIG_BYTES_MAX)
        if raw.lstrip()[:1] == b"<":
            raise HubError(
                "answer",
                f"{_host(self.endpoint)} answered with a web page instead of {CONFIG}",
                "a proxy or its login page stands before the hub: look at HF_ENDPOINT and HTTPS_PROXY",
            )
        config = decoded(raw, place)
        warnings: list[str] = []
        found = Files(config, place, "")
        try:
            found = Files(config, found.place, "", beside(repo.maybe, config))
        except HubError as error:
            warnings.append(f"files beside {CONFIG} were not read: {error}")
        repo.deadline = time.monotonic() + self.timeout_s
        stored, said = None, "weights computed"
        try:
            stored, said = repo.stored_bytes()
        except (HubError, PlanError) as error:
            warnings.append(f"the headers of the weights were not read: {error}")
        origin = f"{urlsplit(self.endpoint).hostname}, {said}"
        return Files(config, found.place, origin, found.beside, stored, tuple(warnings))

    def get(
        self, url: str, deadline: float, most: int, span: tuple[int, int] | None = None
    ) -> tuple[bytes, int]:
        """Up to `most` bytes of a file, and the file's size (of a span: of the whole file; -1: not said).

        `span`: first and last byte. Raises HubError.
        """
        import httpx  # noqa: PLC0415 - a tenth of a second that a plan without network does not need

        try:
            for _ in range(REDIRECTS_MAX + 1):
                with self._open().stream(
                    "GET", url, headers=self._headers(url, span), timeout=_left(deadline)
                ) as response:
                    if response.is_redirect:
                        url = _next(url, response.headers.get("location", ""))
                        continue
                    _judge(response.status_code, response.headers, url)
                    return _body(response, deadline, most, span)
        except httpx.TimeoutException:
            raise HubError(
                "unreachable", f"{_host(url)} did not answer within {self.timeout_s:g} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            said = str(error) or type(error).__name__
            raise HubError("unreachable", f"{_host(url)} cannot be reached: {said}") from None
        raise HubError("answer", f"{_host(url)} redirects more than {REDIRECTS_MAX} times")

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx  # noqa: PLC0415

            limits = httpx.Limits(max_connections=AT_ONCE)
            # Proxies and certificates as everywhere on this machine; redirects are followed here, one by one.
            self._client = httpx.Client(limits=limits, follow_redirects=False, trust_env=True)
        return self._client

    def _headers(self, url: str, span: tuple[int, int] | None) -> dict[str, str]:
        # Compressed, a span would count other bytes, and a small answer could be a large file.
        found = {"user-agent": "infctl", "accept-encoding": "identity"}
        if self.token and _origin(url) == _origin(self.endpoint):
            found["authorization"] = f"Bearer {self.token}"
        if span is not None:
            found["range"] = f"bytes={span[0]}-{span[1]}"
        return found


@dataclass(slots=True)
class _Repo:
    """One revision of one model, until `deadline` (monotonic seconds)."""

    hub: Hub
    hub_id: str
    revision: str
    deadline: float

    def url(self, name: str) -> str:
        return f"{self.hub.endpoint}/{self.hub_id}/resolve/{quote(self.revision, safe='')}/{quote(name)}"

    def need(self, name: str, most: int) -> bytes:
        data, _ = self.hub.get(self.url(name), self.deadline, most)
        return data

    def maybe(self, name: str, most: int) -> bytes | None:
        try:
            return self.need(name, most)
        except HubError as error:
            if error.why == "missing":
                return None
            raise

    def stored_bytes(self) -> tuple[int | None, str]:
        """Of all tensors, and how that is known. Raises HubError, PlanError."""
        text = self.maybe(headers.INDEX, headers.INDEX_BYTES_MAX)
        if text is None:
            single = self.header(headers.SINGLE)
            return (single.total_bytes, "weights from headers") if single else (None, "weights computed")
        index = headers.parse_index(text, f"{self.hub_id}/{headers.INDEX}")
        if len(index.files) <= SHARDS_MAX:
            try:
                return self._sharded(index.files), "weights from headers"
            except (HubError, PlanError):
                if index.total_bytes is None:
                    raise
        return index.total_bytes, "weights from the index" if index.total_bytes else "weights computed"

    def _sharded(self, names: tuple[str, ...]) -> int:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only a large model needs it

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(self.header, names))
        missing = [name for name, one in zip(names, found, strict=True) if one is None]
        if missing:
            raise HubError("missing", f"{missing[0]} is not there")
        return headers.merged((one for one in found if one is not None), self.hub_id).total_bytes

    def header(self, name: str) -> headers.Headers | None:
        """Of one safetensors file, by one or two range requests; None: it is not there."""
        file, url = f"{self.hub_id}/{name}", self.url(name)
        try:
            first, size = self.hub.get(url, self.deadline, FIRST_BYTES, (0, FIRST_BYTES - 1))
        except HubError as error:
            if error.why == "missing":
                return None
            raise
        end = headers.LENGTH_BYTES + headers.header_length(first, file)
        if len(first) < end:
            rest, _ = self.hub.get(url, self.deadline, end - len(first), (len(first), end - 1))
            first += rest
        if len(first) < end:
            raise headers.damaged(file, "it ends within its header")
        return headers.parse(first[headers.LENGTH_BYTES : end], file, size if size >= 0 else None)


def connect(env: Mapping[str, str], timeout_s: float) -> Hub:
    """The hub that HF_ENDPOINT names, with HF_TOKEN. Opens nothing yet. Raises PlanError for no address."""
    endpoint = (env.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise PlanError("HF_ENDPOINT is not the address of a hub", hint=f"such as {ENDPOINT}; or unset it")
    token = (env.get("HF_TOKEN") or "").strip()
    # A header takes nothing else; a token with a line break in it was pasted wrong.
    return Hub(endpoint, timeout_s, token if re.fullmatch(r"[!-~]{1,4096}", token) else "")


def offline(env: Mapping[str, str]) -> bool:
    """HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE, as the hub's own library reads them."""
    return any(
        env.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _body(
    response: httpx.Response, deadline: float, most: int, span: tuple[int, int] | None
) -> tuple[bytes, int]:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise HubError("answer", f"{_host(str(response.url))} compressed what was to come as it is")
    size, skip = _size(response, span)
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if time.monotonic() > deadline:
            raise HubError("unreachable", f"{_host(str(response.url))} answers too slowly")
        if span is not None and len(data) >= skip + most:
            break  # a server that ignores ranges sends the whole file: enough of it is here
        if span is None and len(data) > most:
            raise HubError("answer", f"{response.url.path} is longer than {most:,} bytes")
    return bytes(data[skip : skip + most]), size


def _size(response: httpx.Response, span: tuple[int, int] | None) -> tuple[int, int]:
    """The whole file's size (-1: not said), and how many of the bytes that come lie before the span."""
    if span is None or response.status_code == 200:
        told = response.headers.get("content-length", "")
        size = int(told) if told.isdecimal() and len(told) < 19 else -1
        return size, span[0] if span else 0
    told = response.headers.get("content-range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", told)
    if not found or int(found[1]) != span[0] or int(found[2]) > span[1]:
        raise HubError(
            "answer", f"{_host(str(response.url))} gave another part of the file than was asked for"
        )
    return -1 if found[3] == "*" else int(found[3]), 0


def _judge(status: int, found: Mapping[str, str], url: str) -> None:
    """The one ladder from a status to what it means. Returns for 200 and 206."""
    host, code = _host(url), found.get("x-error-code", "")
    if status in {200, 206}:
        return
    if status == 404:
        what = {
            "RepoNotFound": "has no such model",
            "RevisionNotFound": "has no such revision of this model",
        }.get(code, "has no such file")
        raise HubError("missing", f"{host} {what} (404)", "look at the name and the revision")
    if status == 401:
        raise HubError(
            "refused",
            f"{host} wants a token (401): the model is gated, private or not there",
            "set HF_TOKEN to a token that may read it, in the environment or in .env, and look at the name",
        )
    if status == 403:
        raise HubError(
            "refused",
            f"{host} refuses (403): this token may not read the model",
            "accept its licence on the model's page, with the account that HF_TOKEN belongs to",
        )
    if status == 416:
        raise HubError("answer", f"{host} has no such part of the file (416)")
    if status == 429:
        wait = found.get("retry-after", "")
        later = f"; it says to come back in {wait} s" if wait.isdecimal() and len(wait) < 6 else ""
        raise HubError("unreachable", f"{host} has had too many questions (429){later}")
    raise HubError("unreachable" if status >= 500 else "answer", f"{host} answered with status {status}")


def _next(url: str, location: str) -> str:
    """Where a redirect leads. Raises HubError."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        leads = bool(location and parts.hostname and parts.port != 0 and parts.scheme in {"http", "https"})
    except ValueError:
        leads = False
    if not leads:
        raise HubError("answer", f"{_host(url)} redirects to no address")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise HubError("answer", f"{_host(url)} redirects to an address without TLS")
    return target


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise HubError("unreachable", "the time for asking the hub is used up")
    return left


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the hub"
