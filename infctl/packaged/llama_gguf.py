"""A llama-shaped GGUF file -> config.json, model.safetensors (bfloat16), tokenizer: what vLLM loads.

vLLM reads GGUF only through a plug-in, so the weights are dequantised once. Needs numpy, gguf, safetensors
and tokenizers, not torch. Three things differ between the two formats and are undone here:

1. names: `blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`
2. rotary order: GGUF interleaves the two halves of each head's rows in attn_q and attn_k
3. the tokenizer: tables in the file's header -> tokenizer.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from infctl.errors import EngineError

Field = Callable[[str], Any]

_CONTROL = 3
"""GGUF's token type for markers such as `<|im_start|>`, which text never spells."""

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The figures of a llama, as config.json names them."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int


def convert(source: Path, to: Path) -> None:
    """Write the model's folder and read it back. Raises EngineError if it is not a llama in a known form."""
    reader = GGUFReader(source)

    def field(key: str) -> Any:
        found = reader.fields.get(key)
        if found is None:
            raise EngineError(f"{source.name} has no {key}: not a llama this version can convert")
        return found.contents()

    if field("general.architecture") != "llama" or field("tokenizer.ggml.model") != "gpt2":
        raise EngineError(f"{source.name} is not a llama with a byte-level tokenizer")
    shape = _shape(field)
    tied = not any(t.name == "output.weight" for t in reader.tensors)
    _write_weights(to / "model.safetensors", reader.tensors, shape)
    _write_json(to / "config.json", _config(shape, tied=tied))
    _write_json(to / "generation_config.json", _generation(shape))
    _write_tokenizer(field, shape, to)
    _verify(to, len(reader.tensors), shape)


def hub_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in _LAYER:
            return f"model.layers.{layer}.{_LAYER[part]}.weight"
        case [part, "weight"] if part in _TOP:
            return f"{_TOP[part]}.weight"
    raise EngineError(f"the weights hold a tensor {name}, which a llama has no place for")


def rotary_order(weights: Any, heads: int) -> Any:
    """Rows of each head back from interleaved pairs to two halves; (heads * size, in) -> the same shape."""
    rows, columns = weights.shape
    half = rows // heads // 2
    return weights.reshape(heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def bfloat16(values: Any) -> bytes:
    """float32 rounded to bfloat16, ties to even, as little-endian bytes."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return bytes(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2"))


def _write_weights(path: Path, tensors: Sequence[Any], shape: Shape) -> None:
    """safetensors: 8 bytes of length, a JSON header, the numbers. One tensor in memory at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + 2 * int(tensor.n_elements)
        rows_first = [int(n) for n in reversed(tensor.shape)]  # GGUF counts the innermost axis first
        header[hub_name(tensor.name)] = {"dtype": "BF16", "shape": rows_first, "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as f:
        f.write(len(head).to_bytes(8, "little") + head)
        for tensor in tensors:
            f.write(_weights(tensor, shape))


def _weights(tensor: Any, shape: Shape) -> bytes:
    values = dequantize(tensor.data, tensor.tensor_type)
    if tensor.name.endswith("attn_q.weight"):
        values = rotary_order(values, shape.num_attention_heads)
    elif tensor.name.endswith("attn_k.weight"):
        values = rotary_order(values, shape.num_key_value_heads)
    return bfloat16(values)


def _shape(field: Field) -> Shape:
    return Shape(
        hidden_size=field("llama.embedding_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        intermediate_size=field("llama.feed_forward_length"),
        vocab_size=len(field("tokenizer.ggml.tokens")),
        max_position_embeddings=field("llama.context_length"),
        rope_theta=field("llama.rope.freq_base"),
        rms_norm_eps=round(field("llama.attention.layer_norm_rms_epsilon"), 9),
        bos_token_id=field("tokenizer.ggml.bos_token_id"),
        eos_token_id=field("tokenizer.ggml.eos_token_id"),
        pad_token_id=field("tokenizer.ggml.padding_token_id"),
    )


def _config(shape: Shape, *, tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.hidden_size // shape.num_attention_heads,
        "intermediate_size": shape.intermediate_size,
        "hidden_act": "silu",
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rms_norm_eps": shape.rms_norm_eps,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": shape.bos_token_id,
        "eos_token_id": shape.eos_token_id,
        "pad_token_id": shape.pad_token_id,
        "torch_dtype": "bfloat16",
        "dtype": "bfloat16",
    }


def _generation(shape: Shape) -> dict[str, Any]:
    return {
        "bos_token_id": shape.bos_token_id,
        "eos_token_id": shape.eos_token_id,
        "pad_token_id": shape.pad_token_id,
    }


def _write_tokenizer(field: Field, shape: Shape, to: Path) -> None:
    tokens: list[str] = field("tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    # The family's own splitting: every digit alone, then GPT-2's words.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = field("tokenizer.ggml.token_type")
    control = [t for t, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(to / "tokenizer.json"))
    _write_json(
        to / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[shape.bos_token_id],
            "eos_token": tokens[shape.eos_token_id],
            "pad_token": tokens[shape.pad_token_id],
            "unk_token": tokens[field("tokenizer.ggml.unknown_token_id")],
            "clean_up_tokenization_spaces": False,
            "model_max_length": shape.max_position_embeddings,
            "chat_template": field("tokenizer.chat_template"),
        },
    )


def _verify(folder: Path, tensors: int, shape: Shape) -> None:
    """What was written can be read, has every tensor, and its tokenizer says a sentence back."""
    with safe_open(folder / "model.safetensors", framework="numpy") as written:
        names = list(written.keys())
        embedding = tuple(written.get_slice("model.embed_tokens.weight").get_shape())
    sentence = "What is the capital of France in 2026?"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    said = tokenizer.decode(tokenizer.encode(sentence).ids)
    if len(names) != tensors or embedding != (shape.vocab_size, shape.hidden_size) or said != sentence:
        raise EngineError(
            f"the converted model does not read back: {len(names)} of {tensors} tensors,"
            f" embedding {embedding}, {sentence!r} became {said!r}"
        )


def _write_json(path: Path, what: dict[str, Any]) -> None:
    path.write_text(json.dumps(what, indent=2) + "\n", encoding="utf-8")
