"""Last log lines -> the likely cause and what to do."""

from __future__ import annotations

import pytest

from infctl.engine.causes import CAUSES, find

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
        "neighbour on the GPU",
        "ValueError: Free memory on device cuda:0 (3.1/22.05 GiB) on startup is less than desired GPU memory",
        "nvidia-smi",
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
    ("missing secret", "gateway: BACKEND_API_KEY is not set", "BACKEND_API_KEY"),
    ("edge configuration", 'nginx: [emerg] unknown directive "lisen" in /r/nginx.conf:3', "edge"),
    ("no permission", "PermissionError: [Errno 13] Permission denied: '/etc/key.pem'", "owner"),
    ("disk full", "OSError: [Errno 28] No space left on device", "df -h"),
    ("processor", "Illegal instruction (core dumped)", "processor"),
]


@pytest.mark.parametrize(("key", "line", "said"), SAMPLES)
def test_each_known_line_has_its_cause(key, line, said):
    found = find(["INFO loading", line, "Traceback ends"])
    assert found is not None
    assert found.key == key
    assert found.line == line
    assert said in found.do
    assert "{" not in found.why + found.do


def test_every_cause_has_a_sample():
    assert {key for key, _, _ in SAMPLES} == {cause.key for cause in CAUSES}


def test_a_kill_from_outside_points_to_the_memory():
    found = find(["INFO serving"], "killed by SIGKILL")
    assert found is not None
    assert "memory" in found.why
    assert not found.lasting


def test_an_unknown_end_has_no_invented_cause():
    assert find(["INFO serving"], "exit code 1") is None
    assert find([], "") is None
