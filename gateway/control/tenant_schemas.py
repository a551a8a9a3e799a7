"""What the control plane says of tenants, quotas and keys, and what it may be told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.config import AMOUNT_MAX, TENANT_NAME
from gateway.policy.keys import NAME_CHARS, OVERLAP_MAX_S
from gateway.policy.limits import Code

Level = Literal["key", "run_time", "tenant", "environment", "profile", "built_in"]
QuotaCode = Literal["requests_per_day", "tokens_per_day", "requests_per_month", "tokens_per_month"]
KnownBy = Literal["profile", "run_time", "key", "counts"]

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)] | Literal["none"] | None
Rate = Annotated[float, Field(gt=0, le=1_000_000)] | Literal["none"] | None


class Limits(BaseModel):
    """Limits as one level says them. null: nothing is said; "none": there is no limit."""

    model_config = ConfigDict(extra="forbid")

    requests_per_second: Rate = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Requests at once; null: twice the rate"
    )
    tokens_per_minute: Amount = None
    in_flight: Amount = None
    requests_per_day: Amount = None
    tokens_per_day: Amount = None
    requests_per_month: Amount = None
    tokens_per_month: Amount = None
    models: list[str] | None = Field(default=None, description="It may use; null: nothing is said")


class QuotaLimit(BaseModel):
    code: Code
    limit: int | None = Field(description="null: there is none. Of a rate: at once, after a pause")
    per_s: float | None = Field(description="Of a rate: how much comes back in a second")
    level: Level = Field(description="Who has set it")
    settled: int | None = Field(description="Used, in this window")
    leased: int | None = Field(
        description="Held for requests under way or to come: counts as used until it is given back"
    )
    unknown: int | None = Field(
        description="Of what is settled: as reserved, because nobody knows what was used"
    )
    left: int | None = Field(description="What nobody holds")
    resets_at: float | None = Field(description="Unix seconds; of a rate: when it is full again")
    reset_s: float | None


class KeyQuota(BaseModel):
    key: str
    name: str
    limits: list[QuotaLimit]
    models: list[str] | None


class ModelQuota(BaseModel):
    model: str
    limits: list[QuotaLimit]


class TenantQuota(BaseModel):
    tenant: str
    known_by: list[KnownBy] = Field(description="Empty: nothing is known of it, and it has the usual limits")
    limits: list[QuotaLimit]
    models: list[str] | None = Field(description="It may use; null: all")
    by_key: list[KeyQuota] = Field(description="Keys that have limits of their own, within these")
    by_model: list[ModelQuota] = Field(description="Limits of single models, within these")
    set_at_run_time: Limits = Field(description="What was set here, over what the profile says")
    refused: dict[Code, int] = Field(description="Requests since `refused_since`, by the limit they met")


class _Moment(BaseModel):
    as_of: float = Field(description="Unix seconds, by the clock of the store")
    refused_since: float = Field(description="Unix seconds: when this gateway started")


class Quota(TenantQuota, _Moment):
    pass


class _Page(BaseModel):
    next: str | None = Field(description="What to pass as `after` for the next page; null: this is the last")


class Quotas(_Page, _Moment):
    quotas: list[TenantQuota]


class Usage(BaseModel):
    day: str
    tenant: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    unknown_tokens: int = Field(description="Counted as reserved, because nobody knows what was used")
    total_tokens: int


class Usages(_Page):
    since: str
    until: str
    usage: list[Usage]


class Tenant(BaseModel):
    tenant: str
    known_by: list[KnownBy]
    keys: int = Field(description="That let somebody in now")
    addresses: list[str] = Field(description="Networks whose clients are this tenant")
    models: list[str] | None = Field(description="It may use; null: all")
    set_at_run_time: Limits


class Tenants(_Page):
    tenants: list[Tenant]


class AppliedBy(BaseModel):
    """Who goes by it already."""

    workers: int = Field(description="Of this gateway, whose next request meets the change")
    late: list[int] = Field(description="Workers that have not said so in time; they follow within 1 s")
    others: str = Field(description="What holds for other gateways on the same store; empty: there are none")


class LimitsSet(BaseModel):
    tenant: str
    model: str | None
    before: Limits
    after: Limits
    applied_by: AppliedBy


class WasReset(BaseModel):
    counter: str
    code: Code
    settled: int = Field(description="Used before; now it is 0")
    leased: int = Field(description="Held for requests under way: they count when they end")


class QuotaReset(BaseModel):
    tenant: str
    reset: list[WasReset]
    applied_by: AppliedBy


class ResetRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: QuotaCode | None = Field(default=None, description="One quota; null: all of the tenant's")


class KeyEntry(BaseModel):
    id: str
    tenant: str
    name: str
    shown: str = Field(description="How it begins; empty for a key of the profile")
    origin: Literal["profile", "run_time"]
    state: Literal["active", "rotated", "expired", "revoked"]
    created_at: float | None = Field(description="Unix seconds, as all of these")
    expires_at: float | None
    rotated_at: float | None
    successor: str | None
    revoked_at: float | None
    used_at: float | None = Field(description="To the minute; null: not since it is kept")
    limits: Limits


class Keys(_Page):
    keys: list[KeyEntry]


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(json_schema_extra={"pattern": TENANT_NAME})
    name: str = Field(default="", max_length=NAME_CHARS, description="Printable characters")
    expires_s: float | None = Field(
        default=None, gt=0, le=3_153_600_000, allow_inf_nan=False, description="From now; null: never"
    )
    limits: Limits = Field(default_factory=Limits, description="Its own, within those of its tenant")


class RotateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    overlap_s: float = Field(
        default=3600.0,
        ge=0,
        le=OVERLAP_MAX_S,
        allow_inf_nan=False,
        description="So long the old one works on; 0: it ends now",
    )


class KeyMade(BaseModel):
    text: str = Field(description="The key itself: shown here, and never again")
    key: KeyEntry
    applied_by: AppliedBy


class KeyRotated(KeyMade):
    old: KeyEntry


class KeyRevoked(BaseModel):
    key: KeyEntry
    applied_by: AppliedBy


class Backup(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    id: str
    made_at: float = Field(description="Unix seconds, by the store's clock")
    gateway: str = Field(description="The version that wrote it")
    figures: dict[str, str] = Field(description="Set at run time: scope -> limits as JSON")
    keys: list[dict[str, Any]] = Field(description="With the hash of each, never the key")
    used: dict[str, float] = Field(description="Key -> when it was last used, Unix seconds")
    counts: list[dict[str, Any]] = Field(description="Of the open windows; what was leased counts as used")
    usage: list[list[Any]] = Field(description="Day, tenant, model, requests, prompt, completion, unknown")
    audit: list[dict[str, Any]] = Field(description="Where each chain of the trail stood")


class RestoreRequest(Backup):
    """As GET /admin/backup has told it."""


class Restored(BaseModel):
    figures: int = Field(description="Scopes with limits in the backup")
    keys: int
    counts: int
    usage: int = Field(description="Rows of history")
    applied_by: AppliedBy


BODIES: tuple[type[BaseModel], ...] = (Limits, ResetRequest, KeyRequest, RotateRequest, RestoreRequest)
