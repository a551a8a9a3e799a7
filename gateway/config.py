"""Every knob of the gateway: its default, its unit, its bounds.

Read from one YAML file. Unknown keys are refused. Values are frozen: a reload builds a whole new `Config`
or keeps the old one.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import yaml

Task = Literal["chat", "text2sql", "embed", "rerank"]
TASKS: tuple[Task, ...] = get_args(Task)

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=2**50)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$")]
EnvName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class ConfigError(Exception):
    """The file cannot be used. One line a problem, each with the path of the value."""

    def __init__(self, file: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"{file}: " + "; ".join(problems))
        self.file = file
        self.problems = problems


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Listen(_Frozen, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8000


class Keys(_Frozen, frozen=True):
    """Names of the variables that hold keys: never the keys themselves."""

    shared_env: EnvName | None = "GATEWAY_API_KEY"
    """The one key every client sends. None: tenants' own keys alone are taken; where they name none, no key
    is asked for (loopback experiments only).
    """
    admin_env: EnvName = "ADMIN_API_KEY"
    """Until it is set, the shared key is the admin key as well."""
    backend_env: EnvName = "BACKEND_API_KEY"
    """Sent to the backends in place of the client's key."""
    tenant: Literal["address", "key", "shared"] = "address"
    """Whose a call with the shared key is: its client's address's, or one tenant's for all of them. A call
    with a tenant's own key is that tenant's; shared: even then it is one tenant's for all.
    """
    salt_env: EnvName = "CACHE_SALT_KEY"
    """What tenants' cache salts are made with; until it is set, the backends' key or the shared one."""


AMOUNT_MAX = 1_000_000_000_000_000
"""Above it a figure is a slip of the pen; exact in a float and in Lua."""

_None = Literal["none"]
Amount = Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MAX)] | _None | None
Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | _None | None


class Figures(_Frozen, frozen=True):
    """What one level says of a tenant's limits. None: nothing. "none": no limit."""

    requests_per_second: Rate = None
    """Steady rate (MAX_RPS_PER_IP)."""
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """Requests at once after a pause (RPS_BURST); None: twice the rate."""
    tokens_per_minute: Amount = None
    """Prompt and answer together, as all tokens here."""
    in_flight: Amount = None
    """Requests not yet answered (MAX_INFLIGHT_PER_IP)."""
    requests_per_day: Amount = None
    """UTC, as every day and month here (ORG_DAILY_REQUEST_LIMIT)."""
    tokens_per_day: Amount = None
    """ORG_DAILY_TOKEN_LIMIT."""
    requests_per_month: Amount = None
    tokens_per_month: Amount = None
    """ORG_MONTHLY_TOKEN_LIMIT."""
    models: tuple[str, ...] | None = None
    """It may use; None: nothing said."""


TENANT_NAME = r"^[A-Za-z0-9:][A-Za-z0-9._:@-]{0,127}$"
"""A word or an address. It stands in paths, headers, labels and files."""


class Tenant(_Frozen, frozen=True):
    """Somebody with keys, addresses or limits of their own."""

    key_envs: tuple[EnvName, ...] = ()
    """Variables that hold its keys; several while one is rotated."""
    addresses: tuple[str, ...] = ()
    """Networks whose clients are this tenant, where keys.tenant is address."""
    limits: Figures = Figures()
    """What differs from `limits`."""


class Store(_Frozen, frozen=True):
    """Where counts, and what is set at run time, survive. Without one nobody is held back."""

    kind: Literal["sqlite", "redis"] = "sqlite"
    """sqlite: for the workers of one gateway; redis: for several gateways."""
    path: Annotated[str, msgspec.Meta(pattern=r"^/|^[A-Za-z]:")] = "/var/lib/gateway/gateway.db"
    """Absolute, on a local disk. redis: the journal, from which a Redis that lost its data is told again."""
    url_env: EnvName = "REDIS_URL"
    """redis: the variable that holds redis://..."""
    journals: Count = 1
    """redis: boxes with a journal of their own. So many have to tell an emptied Redis what they know."""
    box: Name | None = None
    """redis: the lasting name of this one. None: the machine's."""


class Backend(_Frozen, frozen=True):
    id: Name
    url: Annotated[str, msgspec.Meta(pattern=r"^http://[A-Za-z0-9.-]+:[0-9]{1,5}$")]
    concurrency: Count | None = None
    """Calls it computes at once; more wait here. None: not known, nothing waits."""
    weight: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    """Its share of the calls, where the policy is `weighted`."""
    loading_s: Seconds | None = None
    """How long it usually takes to load. None: not known, until it was seen once."""


class Model(_Frozen, frozen=True):
    name: Name
    """What clients call it."""
    served_name: Name
    """What its backends call it."""
    tasks: tuple[Task, ...]
    backends: tuple[Backend, ...]
    aliases: tuple[Name, ...] = ()
    max_model_len: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """Tokens, prompt and answer together; None: not known."""


class Timeouts(_Frozen, frozen=True):
    connect_s: Seconds = 5.0
    total_s: Seconds = 5400.0
    """From the request's first byte to the answer's last (MAX_REQUEST_SECS)."""
    stream_idle_s: Seconds = 180.0
    """Between two pieces of an answer (STREAM_IDLE_TIMEOUT_SECS)."""
    header_s: Seconds = 10.0
    body_idle_s: Seconds = 30.0
    keep_alive_s: Seconds = 75.0
    """An idle client connection."""
    drain_s: Seconds = 120.0
    """From SIGTERM to the end of the last stream."""


class HttpLimits(_Frozen, frozen=True):
    """What a client may send."""

    line_bytes: Bytes = 16 * 1024
    header_bytes: Bytes = 64 * 1024
    header_count: Count = 100
    body_bytes: Bytes = 8 * 1024 * 1024
    connections: Count = 10_000
    compression: bool = True
    """gzip for clients that ask, never on streams."""


class Upstream(_Frozen, frozen=True):
    connections: Count = 3000
    """To all backends together, at once (POOL_MAX_CONNECTIONS)."""
    keep_alive: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 800
    """Idle ones kept, of all backends together (POOL_MAX_KEEPALIVE)."""
    idle_s: Seconds = 4.0
    """Below the server's own (vLLM closes after 5 s): a reused connection is never one being closed."""


class Breaker(_Frozen, frozen=True):
    """A backend that fails again and again gets no requests for a while."""

    enabled: bool = True
    failures: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    """In a row, then it opens (CIRCUIT_FAILURE_THRESHOLD)."""
    recovery_s: Seconds = 30.0
    """Until it is tried again (CIRCUIT_RECOVERY_TIMEOUT); doubles with each try that fails."""
    recovery_max_s: Seconds = 300.0


class Outliers(_Frozen, frozen=True):
    """A backend that does worse than the others of its model gets no requests for a while: its breaker opens.

    Never the last one, and never more than half of them.
    """

    enabled: bool = False
    interval_s: Seconds = 10.0
    """Between two looks at what has been since the last one."""
    requests: Annotated[int, msgspec.Meta(ge=5, le=100_000)] = 20
    """Ended calls at a backend in that time; of fewer nothing is said."""
    failures: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
    """The share of its calls that failed; it has to be twice that of the others, too."""
    slower: Annotated[float, msgspec.Meta(ge=1.5, le=1000)] = 4.0
    """Its calls last longer than so many times the median of the others'."""
    eject_s: Seconds = 30.0
    """The first pause; each time it stands out again it is twice as long."""
    eject_max_s: Seconds = 300.0


class Retries(_Frozen, frozen=True):
    """Another backend is tried while nothing has reached the client."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """In all; 1: no retry."""
    backoff_s: Seconds = 0.05
    """The first pause at most; the next may be twice as long, each is drawn at random up to its length."""
    backoff_max_s: Seconds = 2.0
    budget: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    """Retries at once, as a share of the requests at backends."""
    budget_min: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    """Allowed however few requests there are."""


class Hedging(_Frozen, frozen=True):
    """A second backend is asked as well when the first one is silent for long; the first answer wins.

    For plain calls alone, never for streams; each extra one is a retry to `retries.budget`. What the slower
    backend has computed is thrown away: that is why it is off.
    """

    enabled: bool = False
    after_s: Seconds | None = None
    """How long the first one may be silent. None: as long as `percentile` of the recent calls took."""
    percentile: Annotated[float, msgspec.Meta(ge=50, lt=100)] = 95.0
    """Of the last 256 calls of the same model and path; of the first 20 there is no second one."""


class Queue(_Frozen, frozen=True):
    """Where calls wait for a place at a backend whose concurrency is known."""

    waiting: Count = 1000
    """For one model; further ones are refused at once."""
    timeout_s: Seconds = 2.0
    """The longest wait (QUEUE_TIMEOUT_SECS)."""
    timeouts_s: dict[str, Seconds] = {}
    """Of tenants that wait longer, or less long."""
    fairness: Literal["weighted", "first_come"] = "weighted"
    weights: dict[str, Annotated[float, msgspec.Meta(gt=0, le=1000)]] = {}
    """Of tenants, where they wait for the same model; 1 for who is not named."""

    def longest_s(self, tenant: str) -> float:
        """It waits."""
        return self.timeouts_s.get(tenant, self.timeout_s)


class Balancing(_Frozen, frozen=True):
    """Which backend of a model gets a call."""

    policy: Literal["least_in_flight", "power_of_two", "prefix_hash", "weighted"] = "least_in_flight"
    prefix_bound: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.25
    """A backend busier than this many times the mean is passed over by prefix_hash and by sessions."""
    session_header: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$")] | None = None
    """Calls with the same value in this header go to the same backend, whatever the policy."""


class Cache(_Frozen, frozen=True):
    """Answers that depend on nothing but the call are kept."""

    enabled: bool = True
    """CACHE_ENABLED."""
    ttl_s: Seconds = 60.0
    """CACHE_TTL_SECS."""
    entries: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """CACHE_MAX_ENTRIES."""
    memory_bytes: Bytes = 256 * 1024 * 1024
    scope: Literal["tenant", "shared"] = "tenant"
    """shared: one tenant's answer may serve another."""


class Probes(_Frozen, frozen=True):
    interval_s: Seconds = 10.0
    loading_interval_s: Seconds = 1.0
    """While a backend is not ready yet."""
    timeout_s: Seconds = 5.0
    completion_interval_s: Seconds | None = None
    """Between two real one-token completions; None: only where a breaker is open."""
    completion_timeout_s: Seconds = 30.0
    """A busy engine answers late."""


class Log(_Frozen, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = True
    """One JSON line a request."""
    stories: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 500
    """Calls of each worker whose whole story is kept in memory, 2 kB each; 0: none."""


PiiKind = Literal["email", "phone", "card", "iban", "national_id", "ip", "jwt", "key"]


class Redaction(_Frozen, frozen=True):
    """Personal data and keys are taken out of log lines and of the audit trail."""

    enabled: bool = False
    kinds: tuple[PiiKind, ...] = ("email", "phone", "card", "iban", "national_id", "jwt", "key")


class Audit(_Frozen, frozen=True):
    """An append-only, hash-chained trail of requests."""

    folder: str | None = None
    """Absolute; None: no trail."""
    anchors: str | None = None
    """Where it is kept how long each chain is: outside the folder. None: beside it."""
    key_env: EnvName = "AUDIT_HMAC_KEY"
    """Signs the chains; until it is set, they are hashed without a key."""
    on_failure: Literal["serve", "refuse"] = "serve"
    """What becomes of calls while the trail cannot be written."""
    tenant: Literal["plain", "hashed"] = "plain"
    """How tenants and client addresses are written; hashed needs the key."""
    rotate_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 64 * 1024 * 1024
    keep_s: Annotated[float, msgspec.Meta(gt=0)] = 90 * 86_400.0
    """Files older than this are removed."""


class Tracing(_Frozen, frozen=True):
    """Spans of each call for OpenTelemetry; a restart changes it."""

    endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")] | None = None
    """Of a collector: OTLP over HTTP, such as http://collector:4318. None: off
    (OTEL_EXPORTER_OTLP_ENDPOINT).
    """
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """The share of the calls that bring no trace of their own; of the others their flag decides."""


_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")


class Config(_Frozen, frozen=True):
    models: tuple[Model, ...]
    version: Literal[1] = 1
    listen: Listen = Listen()
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that share the port, each on a core of its own where there is one; a restart changes it."""
    keys: Keys = Keys()
    limits: Figures = Figures()
    """Of each tenant that has none of its own; on what is not said here the built-in figures hold."""
    tenants: dict[Annotated[str, msgspec.Meta(pattern=TENANT_NAME)], Tenant] = {}
    store: Store | None = None
    env_file: str | None = None
    """Read at start and on reload. The process's own environment wins over it, as in Compose."""
    secret_files: dict[EnvName, str] = {}
    """Variable -> the file that holds its value: wins over env_file, and is read as often."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1/32", "::1/128")
    """Only from these is X-Forwarded-For believed."""
    edge: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}$")] | None = None
    """host:port of what ends TLS in front of this gateway: its certificate's end is told in the metrics."""
    metrics_open_to: tuple[str, ...] = _PRIVATE
    """Who reads /metrics without a key."""
    timeouts: Timeouts = Timeouts()
    http: HttpLimits = HttpLimits()
    upstream: Upstream = Upstream()
    breaker: Breaker = Breaker()
    outliers: Outliers = Outliers()
    retries: Retries = Retries()
    hedging: Hedging = Hedging()
    queue: Queue = Queue()
    balancing: Balancing = Balancing()
    cache: Cache = Cache()
    cache_salt: Literal["tenant", "shared"] = "tenant"
    """tenant: no tenant can tell by the time what another one asked; shared: prefixes are shared by all."""
    probes: Probes = Probes()
    log: Log = Log()
    redaction: Redaction = Redaction()
    audit: Audit = Audit()
    tracing: Tracing = Tracing()

    @property
    def has_tenants_keys(self) -> bool:
        """The files name some, whether or not they have a value."""
        return any(tenant.key_envs for tenant in self.tenants.values())


def parse(data: Any, file: str = "gateway.yaml") -> Config:
    """Plain data -> Config. Raises ConfigError with every cross-field problem found."""
    try:
        config = msgspec.convert(data, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(file, (str(error),)) from None
    problems = tuple(_problems(config))
    if problems:
        raise ConfigError(file, problems)
    return config


def load(path: Path) -> Config:
    """Raises ConfigError, also for a missing or unreadable file."""
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: such as 2026-02-30
        raise ConfigError(str(path), (str(error),)) from None
    return parse(data, str(path))


def dump(config: Config) -> str:
    """The YAML text of a Config; `load` gives the same Config back."""
    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True)


def read_env(text: str) -> dict[str, str]:
    """`.env` text -> variables: KEY=value, quotes taken off, `#` comments, `export ` allowed."""
    found: dict[str, str] = {}
    for raw in text.splitlines():
        match = _ENV_LINE.match(raw)
        if match is None:
            continue
        value = match["value"].strip()
        if value[:1] in {'"', "'"} and value[-1:] == value[:1] and len(value) >= 2:
            value = value[1:-1]
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        found[match["name"]] = value
    return found


_ENV_LINE = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=(?P<value>.*)$")


def _problems(config: Config) -> list[str]:
    problems = []
    seen: dict[str, str] = {}
    for model in config.models:
        for name in (model.name, *model.aliases):
            if name in seen:
                problems.append(f"models: the name {name!r} is used by {seen[name]} and by {model.name}")
            seen[name] = model.name
        if not model.tasks:
            problems.append(f"models.{model.name}: no task")
        if not model.backends:
            problems.append(f"models.{model.name}: no backend")
    problems += _backend_problems(config)
    anybody = config.keys.shared_env is None and not config.has_tenants_keys
    if anybody and config.listen.host not in _LOOPBACK:
        problems.append(
            f"keys.shared_env: null asks nobody for a key, which is for loopback only; listen.host is"
            f" {config.listen.host}"
        )
    networks = {field: getattr(config, field) for field in ("trusted_proxies", "metrics_open_to")}
    networks |= {f"tenants.{name}.addresses": tenant.addresses for name, tenant in config.tenants.items()}
    for field, found in networks.items():
        for network in found:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                problems.append(f"{field}: {error}")
    problems += _tenant_problems(config)
    return problems


def _tenant_problems(config: Config) -> list[str]:
    problems = []
    models = {name for model in config.models for name in (model.name, *model.aliases)}
    said = {"limits": config.limits} | {
        f"tenants.{name}.limits": tenant.limits for name, tenant in config.tenants.items()
    }
    for path, figures in said.items():
        unknown = [name for name in figures.models or () if name not in models]
        if unknown:
            problems.append(f"{path}.models: there is no model {', '.join(unknown)}")
    holders: dict[str, str] = {}
    for name, tenant in config.tenants.items():
        for variable in tenant.key_envs:
            other = holders.setdefault(variable, name)
            if other != name:
                problems.append(f"tenants.{name}.key_envs: {variable} is the key of {other} already")
    return problems


def _backend_problems(config: Config) -> list[str]:
    problems = []
    backends: dict[str, str] = {}
    for model in config.models:
        for backend in model.backends:
            path = f"models.{model.name}.backends.{backend.id}"
            if backend.id in backends:
                problems.append(f"{path}: the id {backend.id!r} is used by {backends[backend.id]} as well")
            backends[backend.id] = model.name
            if not 1 <= int(backend.url.rpartition(":")[2]) <= 65_535:
                problems.append(f"{path}: {backend.url} has no port between 1 and 65535")
    return problems
