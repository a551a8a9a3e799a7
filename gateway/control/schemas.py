"""The data plane's calls as pydantic models: for the OpenAPI document only. The data plane never loads them.

Fields beyond these pass through to vLLM untouched.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.asked import LONGEST


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorDetail(BaseModel):
    message: str = Field(description="What happened and what to do")
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(default=None, description="The field of the request it is about")
    code: str | int | None = Field(default=None, examples=["model_not_found"])


class Error(BaseModel):
    error: ErrorDetail


class StreamOptions(_Open):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class ChatMessage(_Open):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None


class _Call(_Open):
    model: str = Field(description="A name or an alias of /v1/models", min_length=1, max_length=256)


class _Salted(_Call):
    cache_salt: str | None = Field(
        default=None, min_length=1, max_length=1024, description="Who shares it shares cached prefixes"
    )
    priority: int | None = Field(
        default=None, ge=-LONGEST - 1, le=LONGEST, description="Lower is sooner, where vLLM heeds it"
    )


class _Generation(_Salted):
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=LONGEST)
    min_tokens: int | None = Field(default=None, ge=0, le=LONGEST)
    n: int | None = Field(default=1, ge=1, le=16_384)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-LONGEST - 1, le=LONGEST)
    logit_bias: dict[str, float] | None = None
    stop: str | list[str] | None = None


class ChatCompletionRequest(_Generation):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=LONGEST)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=-1, le=LONGEST)


class Text2SqlRequest(ChatCompletionRequest):
    model: str | None = Field(  # type: ignore[assignment]
        default=None, description="Left out: the platform's text2sql model", min_length=1, max_length=256
    )


class CompletionRequest(_Generation):
    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=-1, le=LONGEST)
    best_of: int | None = Field(default=None, ge=1, le=16_384)


class ResponsesRequest(_Salted):
    input: str | list[Any]
    instructions: str | None = None
    stream: bool | None = False
    background: Literal[False] | None = Field(
        default=None, description="Not served: a later request could not find its answer"
    )
    max_output_tokens: int | None = Field(default=None, ge=1, le=LONGEST)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)


class EmbeddingRequest(_Salted):
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class RerankRequest(_Salted):
    query: str
    documents: list[str]
    top_n: int | None = None


class ScoreRequest(_Salted):
    text_1: str | list[str]
    text_2: str | list[str]


class TokenizeRequest(_Call):
    prompt: str | None = None
    messages: list[ChatMessage] | None = None


class DetokenizeRequest(_Call):
    tokens: list[int]


class Usage(_Open):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int


class Reply(_Open):
    """As the backend wrote it, plain or streamed."""

    id: str | None = None
    object: str | None = None
    model: str | None = Field(
        default=None, description="The name at the backend, whichever alias was asked for"
    )
    usage: Usage | None = None


class ModelEntry(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str = Field(description="The model's own name, when `id` is an alias")
    aliases: list[str]
    tasks: list[str]
    paths: list[str] = Field(description="Where it is served")
    max_model_len: int | None = Field(description="Tokens, prompt and answer")
    healthy: bool


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelEntry]


class Status(BaseModel):
    status: str


class Breaker(BaseModel):
    state: Literal["closed", "open", "half_open"]
    failures: int = Field(description="In a row")
    opened: int = Field(description="How often since the start")
    retry_in_s: float | None = Field(description="Seconds until it is tried again, while open")


class BackendAtWorker(BaseModel):
    worker: int
    state: Literal["ready", "loading", "down", "drained", "draining"]
    breaker: Literal["closed", "open", "half_open"]


class Backend(BaseModel):
    id: str
    model: str
    url: str
    state: Literal["ready", "loading", "down", "drained", "draining"]
    breaker: Breaker
    in_flight: int
    capacity: int | None = Field(description="Calls it computes at once; more wait in the gateway")
    requests: int
    errors: int
    last_probe_s_ago: float | None
    expected_in_s: float | None = Field(description="Seconds until it may take requests; null: it does")
    why: str
    workers: list[BackendAtWorker] | None = Field(
        default=None, description="Where the gateway's workers see it differently: the worst is shown above"
    )


class Backends(BaseModel):
    backends: list[Backend]


class StoryLimit(BaseModel):
    code: str
    of: str = Field(description="Whose: tenant:NAME, key:ID, or model:LENGTH:TENANT:MODEL")
    limit: int
    left: int = Field(description="Once this call's part had been taken, as far as its worker knew")
    per_s: float | None = Field(description="Of a rate: what comes back in a second")


class Candidate(BaseModel):
    backend: str
    in_flight: int = Field(description="Calls at it at that moment, from this worker")
    capacity: int | None = Field(description="Of this worker; null: not known")
    state: str
    breaker: str
    chosen: bool


class StoryAttempt(BaseModel):
    at_ms: float = Field(description="Since the request came")
    backend: str
    failed: str | None = Field(description="Why it was given up; null: its answer counts")
    candidates: list[Candidate]


class StoryTokens(BaseModel):
    reserved: int = Field(description="What it could use at most")
    counted: int | None = Field(description="Against its limits; null: nothing was taken")
    unknown: bool = Field(description="Counted as reserved, because nobody knows")


class Story(BaseModel):
    request: dict[str, Any] = Field(description="As its line in the log")
    message: str = Field(description="Of a refusal or an error of ours")
    limits: list[StoryLimit]
    attempts: list[StoryAttempt]
    tokens: StoryTokens


class Reloaded(BaseModel):
    reloaded: bool = Field(
        description="True; a configuration that is refused is an error, and nothing changes"
    )
    gone: list[str] = Field(description="Backends that the new configuration does not have; their calls end")
    warnings: list[str] = Field(description="What is allowed and still worth knowing")


class ModelHealth(BaseModel):
    name: str
    aliases: list[str]
    tasks: list[str]
    healthy: bool
    max_model_len: int | None
    waiting: int = Field(description="Calls that wait for a place at one of its backends")


class Worker(BaseModel):
    worker: int
    pid: int | None = Field(description="null: it is not running")
    state: Literal["starting", "serving", "stopping", "waiting"] = Field(
        description="waiting: it ended soon after its start, more than once; the next start comes later"
    )
    up_s: float | None
    restarts: int = Field(description="How often it ended unasked and was started again")
    last_end: str = Field(description="How it ended the last time; empty: it never did")
    start_in_s: float | None = Field(description="Seconds until it is started again; null: it runs")


class NearLimit(BaseModel):
    tenant: str
    code: str
    limit: int
    left: int = Field(description="As the worker knows that knows best")
    reset_s: float


class Detailed(Backends):
    status: Literal["ok", "degraded", "down"]
    version: str
    uptime_s: float
    draining: bool
    warnings: list[str]
    models: list[ModelHealth]
    workers: list[Worker] | None = Field(default=None, description="Where the gateway has several")
    near_limits: list[NearLimit] | None = Field(
        default=None, description="Tenants that have used 90 % of a day's or a month's quota; for admins only"
    )


CALLS: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/text2sql": Text2SqlRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/rerank": RerankRequest,
    "/v1/score": ScoreRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
ANSWERS: dict[str, type[BaseModel]] = {
    "models": ModelList,
    "model": ModelEntry,
    "health": Status,
    "live": Status,
    "ready": Status,
    "detailed": Detailed,
}
