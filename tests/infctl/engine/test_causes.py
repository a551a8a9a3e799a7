"""A service's log -> the likely cause, what to do, and the lines that tell."""

# ruff: noqa: E501 - lines are read as services wrote them

from __future__ import annotations

import pytest

from infctl.engine.cause_table import CAUSES
from infctl.engine.causes import LINES_SEARCHED, LINES_SHOWN, failure, find, telling

# What vLLM 0.32 printed when starts on a CPU were made to fail: the telling line, stamp included, cut short.
ENGINE = "(EngineCore pid=25616) ERROR 11-23 13:54:10 [core.py:1510] "
WORKER = "(Worker pid=13189) ERROR 11-23 13:42:11 [multiproc_executor.py:1063] "
REAL = [
    ("address in use", "OSError: [Errno 98] Address already in use", "engines.port_base"),
    (
        "context too long",
        (
            f"{ENGINE}ValueError: To serve at least one request with the model's max seq len (8192), (0.35 GiB KV "
            "cache is needed, which is larger than the available KV cache memory (0.03 GiB). Based on the available "
            "memory, the estimated maximum model length is 640. Try increasing `gpu_memory_utilization`"
        ),
        "`max_model_len: 640` is the longest that fits",
    ),
    (
        "context beyond model",
        (
            "  Value error, User-specified max_model_len (100000) is greater than the derived max_model_len "
            "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json). To allow"
        ),
        "`max_model_len: 8192`",
    ),
    (
        "KV cache too large",
        (
            f"{WORKER}ValueError: Available memory on node 0 (9.29/11.46 GiB) on kv cache allocation is less than "
            "requested memory for kv (100.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE"
        ),
        "`kv_cache_memory: 7610MiB`",
    ),
    (
        "fraction of a GiB",
        "  Value error, invalid literal for int() with base 10: '0.01' [type=value_error, input_value=Args",
        "`kv_cache_memory: 10MiB`",
    ),
    ("unknown argument", "api_server.py: error: unrecognized arguments: --no-such-flag", "extra_args"),
    (
        "no such folder",
        (
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
            "'namespace/repo_name': '/tmp/nope'. Use `repo_type` argument if needed."
        ),
        "`source`",
    ),
    (
        "no model in the folder",
        "  Value error, Invalid repository ID or local directory specified: '/srv/empty'.",
        "config.json",
    ),
    (
        "damaged weights",
        (
            "(Worker pid=13901) ERROR 11-23 13:42:52 [multiproc_executor.py:953] safetensors._safetensors_rust."
            "SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered"
        ),
        "`source`",
    ),
]
USUAL_END = [
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
    (
        "/usr/lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to "
        "be 1 leaked shared_memory objects to clean up at shutdown"
    ),
    "  warnings.warn('resource_tracker: There appear to be %d '",
]
"""Of every start that failed in the engine's processes: nothing of the cause."""
ULIMIT = (
    "(APIServer pid=13086) WARNING 11-23 13:41:51 [system_utils.py:255] Found ulimit of 20000 and failed to "
    "automatically increase with error current limit exceeds maximum limit. This can cause fd limit errors like "
    "`OSError: [Errno 24] Too many open files`. Consider increasing with ulimit -n"
)

# Put together from the sources of vLLM, PyTorch and the rest.
SAMPLES = [
    ("not installed", "/usr/bin/python: No module named 'vllm'", "make up"),
    ("not installed", "ModuleNotFoundError: No module named 'vllm.entrypoints'", "make up"),
    ("address in use", "OSError: [Errno 98] Address already in use", "port"),
    ("address in use", "nginx: [emerg] bind() to 127.0.0.1:8443 failed (98: Address already in use)", "port"),
    (
        "context too long",
        (
            "ValueError: To serve at least one request with the model's max seq len (131072), 7.0 GiB are "
            "needed, available 4.3 GiB. Based on that, the estimated maximum model length is 80400."
        ),
        "80400",
    ),
    (
        "context beyond model",
        (
            "User-specified max_model_len (99999) is greater than the derived max_model_len "
            "(max_position_embeddings=8192 or model_max_length=None in model's config.json)."
        ),
        "8192",
    ),
    ("no KV cache memory", "ValueError: No available memory for the cache blocks. Try increasing ...", "GPU"),
    (
        "no room for a token",
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (0.44 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (0.0 GiB). Try increasing"
        ),
        "kv_cache_memory",
    ),
    (
        "no room for a token",
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
        "smaller",
    ),
    (
        "weights do not fit",
        (
            "ERROR [gpu_model_runner.py:5146] Failed to load model - not enough GPU memory. Try lowering "
            "--gpu-memory-utilization to free memory for weights (original error: CUDA out of memory."
        ),
        "tensor_parallel",
    ),
    (
        "too many requests at once",
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try",
        "`max_num_seqs: 128`",
    ),
    (
        "too many requests at once",
        "RuntimeError: CUDA out of memory occurred when warming up pooler (task='embed') with 1 dummy requests.",
        "`max_num_seqs: 1`",
    ),
    (
        "too few states",
        "ValueError: max_num_seqs (256) exceeds available Mamba cache blocks (97). Each decode sequence requires",
        "`max_num_seqs: 97`",
    ),
    (
        "neighbour on the GPU",
        "ValueError: Free memory on device cuda:0 (3.1/22.05 GiB) on startup is less than desired GPU memory",
        "gpu_memory_utilization: 0.13",
    ),
    ("memory profiling disturbed", "AssertionError: Error in memory profiling. Initial free memory", "share"),
    ("GPU memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "max_num_seqs"),
    ("memory", "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "memory"),
    ("memory", "MemoryError", "smaller model"),
    ("no driver", "RuntimeError: Found no NVIDIA driver on your system.", "nvidia-smi"),
    ("no driver", "ImportError: libcuda.so.1: cannot open shared object file", "nvidia-smi"),
    ("unknown argument", "api_server.py: error: unrecognized arguments: --max-modle-len 1", "extra_args"),
    ("bad argument", "api_server.py: error: argument --port: invalid int value: 'x'", "profile"),
    ("gated model", "OSError: You are trying to access a gated repo.", "HF_TOKEN"),
    ("model not here", "OSError: /m/chat does not appear to have a file named config.json.", "source"),
    ("model not here", "OSError: Can't load the configuration of '/m/chat'.", "config.json"),
    ("unsupported model", "ValueError: Model architectures ['Foo'] are not supported for now.", "model"),
    (
        "unsupported model",
        "  Value error, The checkpoint you are trying to load has model type `foo` but Transformers does not recognize",
        "newer engine",
    ),
    ("missing secret", "gateway: BACKEND_API_KEY is not set", "BACKEND_API_KEY"),
    ("edge configuration", 'nginx: [emerg] unknown directive "lisen" in /r/nginx.conf:3', "edge"),
    ("no permission", "PermissionError: [Errno 13] Permission denied: '/etc/key.pem'", "owner"),
    ("disk full", "OSError: [Errno 28] No space left on device", "df -h"),
    ("processor", "Illegal instruction (core dumped)", "processor"),
]


@pytest.mark.parametrize(("key", "line", "said"), REAL + SAMPLES)
def test_each_known_line_has_its_cause(key, line, said):
    found = find(["INFO loading", line, "Traceback ends"])
    assert found is not None
    assert found.key == key
    assert found.line == line
    assert said in found.do
    assert "{" not in found.why + found.do


def test_every_cause_has_a_sample():
    assert {key for key, _, _ in REAL + SAMPLES} == {cause.key for cause in CAUSES}


def test_a_kill_from_outside_points_to_the_memory():
    found = find(["INFO serving"], "killed by SIGKILL")
    assert found is not None
    assert "memory" in found.why
    assert not found.lasting


def test_an_unknown_end_has_no_invented_cause():
    assert find(["INFO serving"], "exit code 1") is None
    assert find([], "") is None


def start(pid: int, line: str, frames: int = 100) -> list[str]:
    """A start as it looks in the log: the telling line, then what those say that waited for its process."""
    head = ULIMIT.replace("13086", str(pid))
    return [f"(APIServer pid={pid}) INFO version 0.32.0", head, line, *["    frame"] * frames, *USUAL_END]


@pytest.mark.parametrize(("key", "line", "said"), REAL)
def test_the_cause_is_found_and_shown_although_the_end_of_the_log_speaks_of_other_things(
    key, line, said, tmp_path
):
    (tmp_path / "chat.log").write_text("\n".join([*["served"] * 500, *start(7, line)]) + "\n")
    error = failure(tmp_path, "chat", "exit code 1", "did not start")
    assert said in error.hint
    assert line in error.log
    assert len(error.log) <= LINES_SHOWN


def test_a_mended_fault_of_an_earlier_start_is_not_told_again():
    (_, old, _), (key, new, _) = REAL[1], REAL[3]
    assert find(start(7, old) + start(8, new)).key == key
    assert find(start(7, old) + start(8, "INFO serving")) is None
    # A start that the parser refused says nothing with a process id.
    usage = ["usage: api_server.py [-h] [--model MODEL]", *["  [--flag]"] * 300, REAL[5][1]]
    assert find((start(7, old) + usage)[-LINES_SEARCHED:]).key == "unknown argument"


def test_a_start_that_went_well_has_no_cause():
    assert find([ULIMIT, *USUAL_END[1:]]) is None


def test_without_a_known_cause_the_last_error_is_shown_less_those_that_tell_nothing():
    lines = start(7, "ZeroDivisionError: division by zero", frames=40)
    assert find(lines) is None
    assert "ZeroDivisionError: division by zero" in telling(lines)
    assert telling(["one", "two"]) == ["one", "two"]
    assert telling(start(7, "INFO serving"))[-1] == USUAL_END[-1]
    assert telling([]) == []


def test_a_cause_keeps_the_figures_that_its_line_told():
    line = (
        "ValueError: To serve at least one request with the model's max seq len (131072), (7.0 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (4.3 GiB). Based on the available memory, the "
        "estimated maximum model length is 80400."
    )
    found = find([line])
    assert found.why == "the KV cache for one 131,072-token request needs 7.0 GiB, 4.3 GiB are there"
    assert {key: found.words[key] for key in ("asked", "need", "there", "longest")} == {
        "asked": "131072", "need": "7.0", "there": "4.3", "longest": "80400",
    }  # fmt: skip
