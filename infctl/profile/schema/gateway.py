"""`gateway`: keys, limits and quotas, tenants, and how the proxy in front of the models behaves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from infctl.profile.schema.base import (
    Count,
    Duration,
    FilePath,
    Flag,
    Fraction,
    HeaderName,
    Host,
    Image,
    ModelName,
    Network,
    Number,
    OneOrMany,
    PlatformName,
    Port,
    Retention,
    Secret,
    SecretRef,
    Section,
    Size,
    TenantName,
    Weight,
    defaults,
)

Many = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Listen(Section):
    host: Host = "127.0.0.1"
    """process: the address; docker: the address the gateway's port is published on."""
    port: Port = 8000
    """Without TLS."""


def _no_key(value: object) -> object:
    return None if value == "none" else value


class Keys(Section):
    """Who may call. Each key is the name of a variable, "${NAME}", never the key itself."""

    shared: Annotated[
        Secret | None,
        BeforeValidator(_no_key),
        WithJsonSchema(
            {"type": "string", "pattern": r"^(none|\$\{[A-Za-z_].*\})$", "examples": ["${GATEWAY_API_KEY}"]}
        ),
    ] = SecretRef("GATEWAY_API_KEY", "the key your clients send")
    """The one key every client sends; `none`: tenants' own keys alone are taken, and where there are none, no
    key is asked for (experiments on loopback only).
    """
    admin: Secret = SecretRef("ADMIN_API_KEY")
    """For /admin; until it is set, the shared key is the admin key as well."""
    backend: Secret = SecretRef("BACKEND_API_KEY")
    """Sent to the engines in place of the client's key; until it is set, engines ask for none."""
    tenant: Literal["client_address", "key", "shared"] = "client_address"
    """Whose limits a call with the shared key counts against: its client's address's, or one tenant's for all
    (key). A tenant's own key is that tenant's in both; shared: even then it is one tenant for all.
    """


class Limits(Section):
    """Per tenant. A tenant above them is refused with 429; waiting for an engine's place is the queue."""

    requests_per_second: Annotated[float, Field(gt=0, le=1_000_000, strict=True)] = 50.0
    """Steady rate (MAX_RPS_PER_IP)."""
    burst: Many = 100
    """Requests at once after a pause (RPS_BURST)."""
    in_flight: Many = 120
    """Requests not yet answered (MAX_INFLIGHT_PER_IP)."""
    queue_timeout: Duration = 2.0
    """Longest wait for a place at an engine, then 503 (QUEUE_TIMEOUT_SECS)."""
    tokens_per_minute: Count | None = None
    """Prompt and answer together; left out: no such limit."""


class Quotas(Section):
    """Per tenant, in UTC days and months."""

    tokens_per_day: Count = 10_000_000
    """Prompt and answer together (ORG_DAILY_TOKEN_LIMIT)."""
    requests_per_day: Count = 100_000
    """ORG_DAILY_REQUEST_LIMIT."""
    requests_per_month: Count | None = None
    """Left out: no such limit."""
    tokens_per_month: Count = 300_000_000
    """ORG_MONTHLY_TOKEN_LIMIT."""


class TenantLimits(Section):
    """What differs from gateway/limits for one tenant."""

    requests_per_second: Annotated[float, Field(gt=0, le=1_000_000, strict=True)] | None = None
    """Steady rate."""
    burst: Many | None = None
    """Requests at once after a pause."""
    in_flight: Many | None = None
    """Requests not yet answered."""
    queue_timeout: Duration | None = None
    """Longest wait for a place at an engine."""
    tokens_per_minute: Count | None = None
    """Prompt and answer together."""


class TenantQuotas(Section):
    """What differs from gateway/quotas for one tenant."""

    tokens_per_day: Count | None = None
    """Prompt and answer together."""
    requests_per_day: Count | None = None
    """Requests a UTC day."""
    requests_per_month: Count | None = None
    """Requests a UTC month."""
    tokens_per_month: Count | None = None
    """Prompt and answer together."""


class Tenant(Section):
    """One organisation that uses the platform."""

    keys: Annotated[tuple[Secret, ...], OneOrMany()] = ()
    """Variables that hold this tenant's keys; several while one is rotated."""
    addresses: tuple[Network, ...] = ()
    """With tenant: client_address, the addresses that are this tenant."""
    models: tuple[ModelName, ...] | None = None
    """Models it may use; left out: all."""
    weight: Weight = 1.0
    """Its share where tenants wait for the same model."""
    limits: TenantLimits = defaults(TenantLimits)
    """What differs from gateway/limits."""
    quotas: TenantQuotas = defaults(TenantQuotas)
    """What differs from gateway/quotas."""


class Queue(Section):
    """Where requests wait for a place at an engine."""

    waiting: Many = 1000
    """The most that wait for one model; further ones are refused at once."""
    fairness: Literal["weighted", "first_come"] = "weighted"
    """Who is next: by tenant weight, or by time alone."""


class Balancing(Section):
    """Which replica gets a request."""

    policy: Literal["least_in_flight", "power_of_two", "prefix_hash", "weighted"] = "least_in_flight"
    """prefix_hash sends prompts that begin alike to the same replica; weighted goes by models' weights."""
    prefix_bound: Annotated[float, Field(ge=1, le=10, strict=True)] = 1.25
    """prefix_hash, sessions: a replica busier than this many times the mean is passed over."""
    session_header: HeaderName | None = None
    """Calls with the same value in this header go to the same replica, whatever the policy."""


class Breaker(Section):
    """An engine that fails again and again gets no requests for a while."""

    enabled: Flag = True
    """Kept, or not."""
    failures: Annotated[int, Field(ge=1, le=1000, strict=True)] = 5
    """In a row, then it opens (CIRCUIT_FAILURE_THRESHOLD)."""
    recovery: Duration = 30.0
    """Until one request is let through to try (CIRCUIT_RECOVERY_TIMEOUT)."""
    recovery_max: Duration = 300.0
    """The pause doubles with each failed try, up to this."""


class Outliers(Section):
    """A replica that does worse than the others of its model gets no requests for a while.

    Never the last one, and never more than half of them.
    """

    enabled: Flag = False
    """Compared, or not."""
    interval: Duration = 10.0
    """Between two looks at what has been since the last one."""
    requests: Annotated[int, Field(ge=5, le=100_000, strict=True)] = 20
    """Ended requests at a replica in that time; of fewer nothing is said."""
    failures: Fraction = 0.2
    """The share of its requests that failed; it has to be twice that of the others, too."""
    slower: Annotated[float, Field(ge=1.5, le=1000, strict=True)] = 4.0
    """Its requests last longer than so many times the median of the others'."""
    eject: Duration = 30.0
    """The first pause; each time it stands out again it is twice as long."""
    eject_max: Duration = 300.0
    """The longest pause."""


class Retries(Section):
    """Another replica is tried when nothing has reached the client yet."""

    attempts: Annotated[int, Field(ge=1, le=10, strict=True)] = 3
    """In all; 1: no retry."""
    backoff: Duration = 0.05
    """The first pause; the next are longer, each drawn at random up to its length."""
    backoff_max: Duration = 2.0
    """The longest pause."""
    budget: Fraction = 0.2
    """Retries as a share of the requests in flight."""
    budget_min: Annotated[int, Field(ge=0, le=1000, strict=True)] = 3
    """Allowed however few requests there are."""


class Hedging(Section):
    """A second replica is asked as well when the first one is silent for long; the first answer wins.

    For plain calls alone, never for streams. What the slower one has computed is thrown away.
    """

    enabled: Flag = False
    """Asked, or not. Each second attempt is a retry to retries/budget."""
    after: Duration | None = None
    """How long the first one may be silent; left out: as long as `percentile` of the recent calls took."""
    percentile: Annotated[float, Field(ge=50, lt=100, strict=True)] = 95.0
    """Of the last 256 calls of the same model and path."""


class Cache(Section):
    """Answers that depend on nothing but the call are kept."""

    enabled: Flag = True
    """Kept, or not (CACHE_ENABLED)."""
    ttl: Duration = 60.0
    """How long an answer is kept (CACHE_TTL_SECS)."""
    entries: Count = 10_000
    """Answers kept at most (CACHE_MAX_ENTRIES)."""
    memory: Size = 256 * 2**20
    """In all."""
    scope: Literal["tenant", "shared"] = "tenant"
    """shared: one tenant's answer may serve another."""


class Timeouts(Section):
    connect: Duration = 5.0
    """To an engine."""
    total: Duration = 5400.0
    """From the request's first byte to the answer's last (MAX_REQUEST_SECS)."""
    stream_idle: Duration = 180.0
    """Between two pieces of an answer (STREAM_IDLE_TIMEOUT_SECS)."""
    header: Duration = 10.0
    """For a client to send its request's head."""
    body_idle: Duration = 30.0
    """Between two pieces of a request's body."""
    keep_alive: Duration = 75.0
    """An idle client connection."""
    drain: Duration = 120.0
    """From SIGTERM to the end of the last stream."""


Lines = Annotated[int, Field(ge=1, le=10_000, strict=True)]


class Http(Section):
    """What a client may send."""

    line: Annotated[Size, Field(ge=1024)] = 16 * 2**10
    """The request line."""
    header: Annotated[Size, Field(ge=1024)] = 64 * 2**10
    """All header lines together."""
    header_count: Lines = 100
    """Header lines."""
    body: Annotated[Size, Field(ge=1)] = 8 * 2**20
    """A request's body; nginx passes on as much as edge/body_size."""
    connections: Many = 10_000
    """Clients at once."""
    compression: Flag = True
    """gzip for clients that ask, never on streams."""


class Upstream(Section):
    """Connections to the engines."""

    connections: Many = 3000
    """In all, at once (POOL_MAX_CONNECTIONS)."""
    keep_alive: Many = 800
    """Idle ones kept (POOL_MAX_KEEPALIVE)."""
    idle: Duration = 4.0
    """How long an idle one is kept; below vLLM's own 5 s, so that none is reused while it closes."""


class Probes(Section):
    """How the gateway finds out that an engine works."""

    interval: Duration = 10.0
    """Between two looks at an engine's /health."""
    loading_interval: Duration = 1.0
    """While an engine is not ready yet."""
    timeout: Duration = 5.0
    """An engine that has not answered by then has failed the probe."""
    completion_interval: Duration | None = None
    """A real one-token completion this often, too; left out: none."""


class Logging(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    requests: Flag = True
    """One JSON line a request, without bodies."""


PiiKind = Literal["email", "phone", "card", "iban", "national_id", "ip", "jwt", "key"]


class Redaction(Section):
    """Personal data is taken out of logs and of the audit trail."""

    enabled: Flag = True
    """Taken out, or not."""
    kinds: tuple[PiiKind, ...] = ("email", "phone", "card", "iban", "national_id", "jwt", "key")
    """What is looked for."""


class Audit(Section):
    """An append-only, hash-chained trail of who asked what and when."""

    enabled: Flag = True
    """Written, or not."""
    bodies: Flag = False
    """Requests and answers too, redacted."""
    on_failure: Literal["serve", "refuse"] = "serve"
    """What becomes of calls while the trail cannot be written, such as on a full disk."""
    tenant: Literal["plain", "hashed"] = "plain"
    """How tenants and client addresses are written; hashed needs hmac_key."""
    rotate: Size = 64 * 2**20
    """A new file at this size."""
    keep: Retention = 90 * 86_400.0
    """Files older than this are removed."""
    hmac_key: Secret | None = None
    """Signs the chain; kept outside the trail's folder."""


class Store(Section):
    """Where counts and run-time settings survive."""

    kind: Literal["sqlite", "redis"] | None = None
    """sqlite for one gateway; redis for several. Left out: redis where there are several, or a url."""
    path: FilePath = "gateway.db"
    """The file, relative to the folder of what the gateway keeps; of redis it makes the journal's name."""
    url: Secret | None = None
    """redis: the variable that holds redis://...; left out, a Redis is rendered (runtime: docker)."""
    boxes: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """Machines whose platforms count together in the Redis of url; so many have to tell it what it lost."""
    box: PlatformName | None = None
    """The lasting name of this one among them; left out: the platform's, which is enough for one."""
    image: Image = "redis:7.2-alpine"
    """docker: of the Redis that is rendered."""


class Gateway(Section):
    image: Image = "infctl/gateway:0.1.0"
    """docker: the gateway's image."""
    listen: Listen = defaults(Listen)
    """Where the gateway itself answers, without TLS."""
    replicas: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """Gateways behind nginx."""
    workers: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """Processes of one gateway, each as fast as one core."""
    keys: Keys = defaults(Keys)
    """Who may call."""
    limits: Limits = defaults(Limits)
    """What a tenant may do at once."""
    quotas: Quotas = defaults(Quotas)
    """What a tenant may use in a day and a month."""
    tenants: dict[TenantName, Tenant] = Field(default_factory=dict)
    """Organisations with keys, limits or models of their own, by name."""
    queue: Queue = defaults(Queue)
    """Waiting for a place at an engine."""
    balancing: Balancing = defaults(Balancing)
    """Which replica gets a request."""
    breaker: Breaker = defaults(Breaker)
    """Engines that fail get a pause."""
    outliers: Outliers = defaults(Outliers)
    """Replicas that do worse than the others get one, too."""
    retries: Retries = defaults(Retries)
    """Trying another replica."""
    hedging: Hedging = defaults(Hedging)
    """Not waiting for a slow replica."""
    cache: Cache = defaults(Cache)
    """Answers kept."""
    cache_salt: Literal["tenant", "shared"] = "tenant"
    """Whether tenants share vLLM's prefix cache: tenant closes a timing channel, shared is faster."""
    timeouts: Timeouts = defaults(Timeouts)
    """How long each part of a request may take."""
    http: Http = defaults(Http)
    """What a client may send."""
    upstream: Upstream = defaults(Upstream)
    """Connections to the engines."""
    probes: Probes = defaults(Probes)
    """Finding out which engines work."""
    logging: Logging = defaults(Logging)
    """The gateway's own log."""
    redaction: Redaction = defaults(Redaction)
    """Personal data in logs and trail."""
    audit: Audit = defaults(Audit)
    """The trail."""
    store: Store = defaults(Store)
    """Where counts are kept."""
    trusted_proxies: tuple[Network, ...] = ("127.0.0.1/32", "::1/128")
    """Only from these is X-Forwarded-For believed. docker: the edge's own network is added."""
    metrics_open_to: tuple[Network, ...] = (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7",
    )  # fmt: skip
    """Who reads /metrics without a key."""


__all__ = ["Gateway", "Keys", "Limits", "Number", "Quotas", "Tenant"]
