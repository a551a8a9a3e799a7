"""A cause -> the key of the profile that is to blame. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from infctl.profile.check.arguments import OWNED_FLAGS
from infctl.profile.schema import Model, Profile

_OF_THE_MODEL: Mapping[str, tuple[str, ...]] = {
    "context too long": ("max_model_len",),
    "no room for a token": ("kv_cache_memory", "gpu_memory_utilization", "source"),
    "context beyond model": ("max_model_len",),
    "KV cache too large": ("kv_cache_memory",),
    "fraction of a GiB": ("env",),
    "no KV cache memory": ("gpu_memory_utilization", "source"),
    "neighbour on the GPU": ("gpu_memory_utilization", "gpu"),
    "memory profiling disturbed": ("gpu_memory_utilization", "gpu"),
    "weights do not fit": ("tensor_parallel", "source"),
    "too many requests at once": ("max_num_seqs",),
    "too few states": ("max_num_seqs",),
    "GPU memory": ("max_num_seqs", "max_model_len", "source"),
    "memory": ("kv_cache_memory", "source"),
    "unknown argument": ("extra_args",),
    "gated model": ("source",),
    "no such folder": ("source",),
    "no model in the folder": ("source",),
    "damaged weights": ("source",),
    "model not here": ("source",),
    "unsupported model": ("source",),
}
"""The first of these that the profile writes; else the last of them."""
_OF_THE_PLATFORM: Mapping[str, str] = {
    "not installed": "engines/python",
    "no driver": "gpus",
    "processor": "gpus",
    "edge configuration": "edge",
}
_PORTS = {"gateway": "gateway/listen/port", "nginx": "edge/https_port"}


def path_of(key: str, words: Mapping[str, str], service: str, model: str, profile: Profile) -> str:
    """`model`: its name in the profile, empty for what is no engine. Empty: the profile is not to blame."""
    if key in _OF_THE_PLATFORM:
        return _OF_THE_PLATFORM[key]
    if key == "address in use":
        in_container = profile.runtime == "docker"
        return _PORTS.get(service, "" if in_container else "engines/port_base")
    if not model:
        return ""
    if key == "bad argument":
        field = OWNED_FLAGS.get(words.get("argument", "").partition("/")[0], "extra_args")
        return f"models/{model}/{field.partition(':')[0]}"
    fields = _OF_THE_MODEL.get(key)
    if fields is None:
        return ""
    found = profile.models[model]
    return f"models/{model}/{next((f for f in fields if _writes(found, f)), fields[-1])}"


def _writes(model: Model, field: str) -> bool:
    value = getattr(model, field)
    return field in model.model_fields_set and value is not None
