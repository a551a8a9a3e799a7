"""How each way of quantising is written in a config, and what it means for the stored bytes."""

from typing import Any

import pytest

from infctl.errors import PlanError
from infctl.models import Quantization
from infctl.models.config import Beside, facts

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
    "vocab_size": 1000,
}


def _read(written: dict[str, Any] | None, key: str = "quantization_config") -> Quantization | None:
    return facts(LLAMA | {key: written}, name="m").quantization


def test_nothing_written_is_nothing_packed() -> None:
    assert _read(None) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
            Quantization("awq", 4, 128, zero_points=True, name="awq"),
        ),
        (
            {"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": True},
            Quantization("gptq", 8, -1, zero_points=True, name="gptq"),
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "ignored_layers": ["lm_head"]},
            Quantization("fp8", 8, block=(128, 128), skip=("lm_head",), name="fp8"),
        ),
        (
            {"quant_method": "mxfp4", "modules_to_not_convert": ["model.embed_tokens"]},
            Quantization("mxfp4", 4, 32, skip=("model.embed_tokens",), name="mxfp4"),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            Quantization("bitsandbytes", 4, name="bitsandbytes"),
        ),
        ({"load_in_8bit": True}, Quantization("bitsandbytes", 8, name="bitsandbytes")),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
            Quantization("other", 4, 16, name="modelopt_fp4"),
        ),
        (
            {"quant_algo": "FP8", "ignore": ["lm_head"]},
            Quantization("other", 8, skip=("lm_head",), name="modelopt"),
        ),
        (
            {
                "producer": {"name": "modelopt"},
                "quantization": {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]},
            },
            Quantization("other", 4, 16, skip=("lm_head",), name="modelopt_fp4"),
        ),
        ({"quant_method": "torchao"}, Quantization("other", 16, name="torchao")),
    ],
)
def test_each_way_of_writing_it(written: dict[str, Any], read: Quantization) -> None:
    assert _read(written) == read


@pytest.mark.parametrize("method", ["compressed-tensors", "compressed_tensors"])
@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_compressed_tensors_speaks_in_groups(method: str, key: str) -> None:
    weights = {"num_bits": 4, "group_size": 32, "symmetric": False, "type": "int"}
    written = {
        "quant_method": method,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head", "re:.*gate"],
    }
    skip = ("lm_head", "re:.*gate")
    assert _read(written, key) == Quantization(
        "compressed-tensors", 4, 32, zero_points=True, skip=skip, name="compressed-tensors"
    )


def test_older_modelopt_checkpoints_say_it_in_a_file_beside() -> None:
    beside = Beside(quantization={"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}})
    assert facts(LLAMA, name="m", beside=beside).quantization == Quantization("other", 8, name="modelopt")


def test_a_method_without_rules_is_never_silent() -> None:
    read = facts(LLAMA | {"quantization_config": {"quant_method": "torchao"}}, name="m")
    assert "no rules for the quantisation torchao: taken for 16 bits" in read.warnings


def test_it_is_found_in_the_text_part_as_well() -> None:
    text = LLAMA | {"quantization_config": {"quant_method": "fp8"}}
    read = facts({"architectures": ["X"], "model_type": "x", "text_config": text}, name="m")
    assert read.quantization == Quantization("fp8", 8, name="fp8")


def test_a_method_that_is_not_named_is_refused() -> None:
    with pytest.raises(PlanError) as caught:
        _read({"group_size": 128})
    assert [problem.path for problem in caught.value.problems] == ["quantization_config/quant_method"]
