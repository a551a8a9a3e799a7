"""`infctl size`: one model, one card, a verdict."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.cli import shapes, size_screen
from infctl.cli.size_args import checked_share, checked_size, checked_word
from infctl.errors import UsageError
from infctl.models.config import facts
from infctl.sizing import Card, EngineArgs, MemoryNeed
from infctl.sizing.need import need

from .conftest import Run

GIB = 2**30
QWEN7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
XLM_R = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 250002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "torch_dtype": "float32",
}
STARTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "vllm" / "h100_starts.json").read_text()
)
THE_CONTRACT = (
    "fits", "reason", "weights_bytes", "activation_bytes", "cudagraph_bytes", "non_torch_bytes",
    "kv_available_bytes", "kv_tokens", "num_gpu_blocks", "max_concurrency", "max_model_len_that_fits",
)  # fmt: skip


@pytest.fixture
def qwen(tmp_path: Path) -> str:
    return written(tmp_path / "qwen", QWEN7B)


def written(folder: Path, config: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return str(folder)


def sized(run: Run, *args: str) -> dict[str, Any]:
    done = run("size", *args, "--offline", "--json")
    assert done.returncode in {0, 1}, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if told["fits"] else 1)
    return told


# The answer


def test_the_contracts_keys_come_first_and_all_keys_are_promised(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu", "L4", "--max-model-len", "8192")
    assert tuple(told)[: len(THE_CONTRACT)] == THE_CONTRACT
    assert list(told) == list(shapes.SIZE)
    assert set(told["bands"]["kv_tokens"]) == {"expected", "low", "high", "origin"}


def test_a_7b_fits_an_l4_with_what_is_known_of_it(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu", "L4", "--max-model-len", "8192")
    assert told["fits"]
    assert abs(told["weights_bytes"] / GIB - 14.2) < 0.15
    assert 70_000 < told["kv_tokens"] < 110_000
    assert told["num_gpu_blocks"] == told["kv_tokens"] // 16
    assert told["max_concurrency"] == pytest.approx(told["kv_tokens"] / 8192, abs=0.01)
    assert told["max_model_len_that_fits"] == 32_768
    assert told["gpu_total_bytes"] == int(22.05 * GIB)
    assert told["vllm_version"] == "0.25"


def test_what_does_not_fit_is_a_verdict_with_its_measure(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu-total-bytes", "16GiB", "--gpu-memory-utilization", "0.98")
    assert not told["fits"]
    assert "8" in told["reason"]
    assert told["reason"].endswith(".") or told["reason"]
    assert told["max_model_len_that_fits"] < 32_768


def test_what_is_said_to_fit_does_fit(run: Run, qwen: str) -> None:
    args = (qwen, "--gpu-total-bytes", "18600000000", "--max-num-seqs", "64")
    most = sized(run, *args)["max_model_len_that_fits"]
    assert 0 < most < 32_768
    assert sized(run, *args, "--max-model-len", str(most))["fits"]
    assert not sized(run, *args, "--max-model-len", str(most + 64))["fits"]


def test_weights_that_are_larger_than_the_card_say_how_much_is_missing(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu-total-bytes", "12GiB")
    assert (told["fits"], told["fate"], told["max_model_len_that_fits"]) == (False, "weights", 0)
    assert told["kv_available_bytes"] < 0
    assert "GiB" in told["reason"]


def test_an_encoder_keeps_no_cache_and_has_the_one_block_vllm_reports(run: Run, tmp_path: Path) -> None:
    told = sized(
        run, written(tmp_path / "e", XLM_R), "--gpu", "L4", "--runner", "pooling", "--dtype", "float16"
    )
    assert told["fits"]
    assert (told["kv_tokens"], told["kv_available_bytes"], told["max_concurrency"]) == (None, None, None)
    assert told["num_gpu_blocks"] == 1
    assert "kv_tokens" not in told["bands"]


def test_a_given_total_wins_over_the_catalogue(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu", "L4", "--gpu-total-bytes", "40GiB")
    assert (told["gpu"], told["gpu_total_bytes"]) == ("L4", 40 * GIB)


def test_given_bytes_become_tokens_exactly(run: Run, qwen: str) -> None:
    told = sized(run, qwen, "--gpu", "L4", "--kv-cache-memory-bytes", "3.5GiB", "--max-model-len", "8192")
    assert told["kv_tokens"] == 65_536
    fp8 = sized(
        run, qwen, "--gpu", "L4", "--kv-cache-memory-bytes", str(7 * 2**29), "--max-model-len", "8192",
        "--kv-cache-dtype", "fp8",
    )  # fmt: skip
    assert fp8["kv_tokens"] == 131_072


def test_every_argument_reaches_the_sizing(run: Run, qwen: str) -> None:
    told = sized(
        run, qwen, "--gpu", "H100", "--max-model-len", "4096", "--max-num-batched-tokens", "1024",
        "--max-num-seqs", "32", "--gpu-memory-utilization", "0.5", "--kv-cache-dtype", "fp8", "--dtype",
        "float16", "--block-size", "32", "--enforce-eager", "--no-async-scheduling", "--tensor-parallel-size",
        "2", "--pipeline-parallel-size", "2", "--vllm-version", "0.32",
    )["arguments"]  # fmt: skip
    assert {
        "max_model_len": 4096,
        "max_num_batched_tokens": 1024,
        "max_num_seqs": 32,
        "gpu_memory_utilization": 0.5,
        "kv_dtype": "fp8",
        "dtype": "float16",
        "block_size": 32,
        "compiled": False,
        "async_scheduling": False,
        "tensor_parallel": 2,
        "pipeline_parallel": 2,
        "vllm": "0.32",
    }.items() <= told.items()


def test_a_quantisation_that_the_weights_lack_is_sized_and_said(run: Run, qwen: str) -> None:
    plain = sized(run, qwen, "--gpu", "L4")
    packed = sized(run, qwen, "--gpu", "L4", "--quantization", "awq")
    assert packed["weights_bytes"] < 0.45 * plain["weights_bytes"]
    assert any("4-bit checkpoint" in text for text in packed["warnings"])
    online = sized(run, qwen, "--gpu", "L4", "--quantization", "fp8")
    assert online["weights_bytes"] < 0.65 * plain["weights_bytes"]
    assert online["warnings"] == []


def test_a_packed_checkpoint_takes_its_own_word_and_no_other(run: Run, tmp_path: Path) -> None:
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    folder = written(tmp_path / "awq", QWEN7B | {"quantization_config": awq})
    assert sized(run, folder, "--gpu", "L4", "--quantization", "awq_marlin")["warnings"] == []
    refused = sized(run, folder, "--gpu", "L4", "--quantization", "fp8")["warnings"]
    assert any("already" in text for text in refused)


# Held to real starts


def as_options(start: dict[str, Any]) -> list[str]:
    """A start's arguments as the command takes them; made in-process, one batch is in flight."""
    observed, told = start["observed"], ["--no-async-scheduling"]
    args = {name: observed[name] for name in ("max_num_batched_tokens", "max_num_seqs") if observed[name]}
    for name, value in {**args, **start["args"]}.items():
        if value is True:
            told.append(f"--{name.replace('_', '-')}")
        elif value is not False:
            told += [f"--{name.replace('_', '-')}", str(value)]
    return told


@pytest.mark.parametrize("start", STARTS, ids=[start["case"] for start in STARTS])
def test_the_command_meets_real_starts_on_an_h100(run: Run, tmp_path: Path, start: dict[str, Any]) -> None:
    folder = written(tmp_path / "model", start["hf_config"])
    told = sized(run, folder, "--gpu-total-bytes", str(start["total_bytes"]), *as_options(start))
    observed = start["observed"]
    assert told["fits"] == (observed["error"] is None)
    if observed["kv_tokens"]:
        assert told["kv_tokens"] == pytest.approx(observed["kv_tokens"], rel=0.03)
        assert told["max_concurrency"] == pytest.approx(observed["max_concurrency"], rel=0.03)
    else:
        assert observed["error"] or (told["kv_tokens"], told["num_gpu_blocks"]) == (None, 1)


# The screen


def found(total: float = 22.05, vllm: Any = "0.25", **args: Any) -> MemoryNeed:
    card = Card("L4", int(total * GIB))
    return need(facts(QWEN7B, name="qwen"), EngineArgs(max_model_len=8192, vllm=vllm, **args), card)


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_the_screen_says_where_the_bytes_go_and_what_they_hold() -> None:
    here = found()
    told = words(size_screen.lines("qwen", here, 100))
    assert told.startswith("qwen on L4 (22.05 GiB) · vLLM 0.25")
    for name in (
        "weights",
        "activation",
        "CUDA graphs",
        "libraries (non-torch)",
        "KV cache",
        "vLLM's budget",
    ):
        assert name in told
    assert f"fits {here.kv_tokens.expected:,} KV tokens" in told
    assert "longest a context of 32,768 tokens fits" in told


def test_the_other_vllm_is_one_line_where_it_differs() -> None:
    newer = found(vllm="0.32")
    told = words(size_screen.lines("qwen", found(), 100, other=newer))
    assert (
        f"vLLM 0.32 takes the CUDA graphs from this as well: {newer.kv_tokens.expected:,} tokens;"
        " --vllm-version 0.32"
    ) in told
    assert "--vllm-version" not in words(size_screen.lines("qwen", found(), 100, other=found()))


def test_where_both_say_no_the_other_vllm_is_no_news() -> None:
    told = words(size_screen.lines("qwen", found(total=12), 100, other=found(total=12, vllm="0.32")))
    assert "--vllm-version" not in told


def test_a_no_says_by_how_much() -> None:
    short = found(total=12)
    told = size_screen.lines("qwen", short, 100)
    assert any(line.startswith("no ") and short.reason[:20] in line for line in told)
    assert any(line.startswith("missing") for line in told)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("utf8", [True, False])
def test_the_screen_fits_the_window(width: int, utf8: bool) -> None:
    for one in (
        found(),
        found(total=12),
        replace(found(), warnings=("an architecture nobody taught infctl",) * 2),
    ):
        told = size_screen.lines("a/" + "long-name-" * 8, one, width, other=found(vllm="0.32"), utf8=utf8)
        assert max(map(len, told)) <= max(width, 84)
        assert utf8 or all(line.isascii() for line in told)


def test_a_warning_is_said_once() -> None:
    told = size_screen.lines("qwen", replace(found(), warnings=("odd",)), 100, warnings=("odd",))
    assert sum("odd" in line for line in told) == 1


# Bad input


@pytest.mark.parametrize(
    "args",
    [
        ("--max-model-len", "0"),
        ("--max-model-len", "-1"),
        ("--max-model-len", "long"),
        ("--max-num-seqs", "0"),
        ("--max-num-batched-tokens", "-5"),
        ("--gpu-memory-utilization", "0"),
        ("--gpu-memory-utilization", "1.1"),
        ("--gpu-memory-utilization", "nan"),
        ("--gpu-memory-utilization", "-0.5"),
        ("--gpu-memory-utilization", "inf"),
        ("--gpu-total-bytes", "0"),
        ("--gpu-total-bytes", "much"),
        ("--gpu-total-bytes", "9" * 5000),
        ("--kv-cache-memory-bytes", "-1GiB"),
        ("--dtype", "int4"),
        ("--quantization", "zork"),
        ("--kv-cache-dtype", "fp3"),
        ("--runner", "walker"),
        ("--vllm-version", "0.31"),
        ("--block-size", "0"),
        ("--tensor-parallel-size", "0"),
        ("--gpu", ""),
        ("--gpu", "\x1b[31m"),
        ("--gpu", "detect"),
    ],
)
def test_a_value_out_of_range_is_a_usage_error(run: Run, qwen: str, args: tuple[str, str]) -> None:
    done = run("size", qwen, "--gpu", "L4", *args)
    assert (done.returncode, done.stdout) == (64, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert args[0] in done.stderr


def test_without_a_card_there_is_no_answer(run: Run, qwen: str) -> None:
    done = run("size", qwen)
    assert (done.returncode, done.stdout) == (64, "")
    assert "--gpu" in done.stderr


def test_an_unknown_card_offers_the_three_nearest(run: Run, qwen: str) -> None:
    done = run("size", qwen, "--gpu", "L5")
    assert done.returncode == 4
    assert "no card called L5" in done.stderr
    assert "L4" in done.stderr
    assert "--gpu-total-bytes" in done.stderr


@pytest.mark.parametrize("several", ["4xL4", "4 x L4", "L4:4"])
def test_several_cards_are_asked_for_by_the_cut(run: Run, qwen: str, several: str) -> None:
    done = run("size", qwen, "--gpu", several)
    assert (done.returncode, done.stdout) == (64, "")
    assert "--gpu L4 --tensor-parallel-size 4" in done.stderr
    assert run("size", qwen, "--gpu", "L4", "--tensor-parallel-size", "4").returncode == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": -1}, "vocab_size"),
    ],
)
def test_an_absurd_config_is_told_with_its_place(
    run: Run, tmp_path: Path, broken: dict[str, Any], said: str
) -> None:
    config = {name: value for name, value in (QWEN7B | broken).items() if value is not None}
    folder = written(tmp_path / "odd", config)
    done = run("size", folder, "--gpu", "L4", "--offline")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{folder}/config.json:" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_says_where_was_looked(run: Run, tmp_path: Path) -> None:
    done = run("size", str(tmp_path / "nothing"), "--gpu", "L4", "--offline")
    assert (done.returncode, done.stdout) == (4, "")
    assert "nothing" in done.stderr
    told = run("size", str(tmp_path / "nothing"), "--gpu", "L4", "--offline", "--json")
    assert json.loads(told.stderr)["error"]["kind"] == "plan"


def test_words_and_sizes_are_checked_alike() -> None:
    assert checked_size("--x", "22GiB") == 22 * GIB
    assert checked_size("--x", "1024") == 1024
    assert checked_size("--x", None) is None
    assert checked_share("--x", 1.0) == 1.0
    assert checked_word("--x", None, ("a",)) is None
    for bad in (math.nan, 0.0, 1.0001):
        with pytest.raises(UsageError, match="--x"):
            checked_share("--x", bad)
