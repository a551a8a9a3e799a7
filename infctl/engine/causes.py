"""From a failed service's last log lines to the likely cause and what to do. A table, tried from the top."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infctl.engine.logs import tail
from infctl.errors import EngineError

LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """`why` and `do` may name groups of the pattern (`{port}`)."""

    key: str
    pattern: str
    why: str
    do: str
    lasting: bool = True
    """Another try ends the same way."""


@dataclass(frozen=True, slots=True)
class Finding:
    key: str
    why: str
    do: str
    lasting: bool
    line: str
    """The line that told."""


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
        "end that process (`ss -ltnp` names it) or change the port in the profile",
        lasting=False,
    ),
    Cause(
        "context too long",
        r"(?s)To serve at least one request.*?estimated maximum model length is (?P<longest>\d+)",
        "the KV cache cannot hold one request of the model's max_model_len",
        "set `max_model_len: {longest}` or less, or give the model more memory",
    ),
    Cause(
        "context beyond model",
        r"(?i)user-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len"
        r"(?:.*?=\s*(?P<own>\d+))?",
        "max_model_len {asked} is more than the model was trained for",
        "set `max_model_len` to {own} or less",
    ),
    Cause(
        "no KV cache memory",
        r"No available memory for the cache blocks",
        "weights and work memory leave nothing for the KV cache",
        "take a smaller or quantized model, a larger GPU, or a higher memory share for this model",
    ),
    Cause(
        "neighbour on the GPU",
        r"Free memory on device (?P<device>\S+) \((?P<free>[^)]*)\) on startup is less than",
        "other processes hold memory of GPU {device}: {free} GiB are free",
        "`nvidia-smi` names them; end them or plan this model onto another GPU",
        lasting=False,
    ),
    Cause(
        "memory profiling disturbed",
        r"Error in memory profiling",
        "a neighbour on the same GPU gave memory back while this engine was measuring it",
        "start the engines of one GPU one after the other (`share` in the profile does it)",
        lasting=False,
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
        "model not here",
        r"(?i)(?P<path>\S+) (does not appear to have a file named|is not a local folder)"
        r"|Can't load the configuration of '?(?P<path2>[^'\s]+)"
        r"|(couldn't connect to|outgoing traffic has been disabled|LocalEntryNotFoundError|Repo id must be)",
        "the model's files are not where the engine looks for them",
        "check the model's `source`; a folder must hold config.json and the weights",
    ),
    Cause(
        "unsupported model",
        r"(?i)Model architectures? (?P<arch>\[[^\]]*\]) (are|is) not supported|has no vLLM implementation",
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

KILLED = Finding(
    "killed",
    "it was killed from outside; when memory runs out the kernel does that",
    "see `dmesg | grep -i 'killed process'`; end other programs or take a smaller model",
    lasting=False,
    line="",
)


def find(lines: Sequence[str], last_exit: str = "") -> Finding | None:
    """The likely cause; the first entry of the table that fits wins, None if none does."""
    text = "\n".join(lines)
    for cause in CAUSES:
        match = re.search(cause.pattern, text)
        if match is None:
            continue
        words = {name: (value or "").strip() for name, value in match.groupdict().items()}
        line = text[: match.start()].count("\n")
        return Finding(
            cause.key, cause.why.format(**words), cause.do.format(**words), cause.lasting, lines[line]
        )
    return KILLED if "SIGKILL" in last_exit else None


def failure(logs: Path, name: str, why: str, what: str) -> EngineError:
    """An error with the service's own last lines, the likely cause and what to do about it."""
    lines = tail(logs / f"{name}.log", LINES_SHOWN)
    found = find(lines, why)
    if found is None:
        return EngineError(f"{name} {what}: {why}", hint=f"all of its log: `infctl logs {name}`", log=lines)
    return EngineError(f"{name} {what}: {found.why} ({why})", hint=found.do, log=lines)
