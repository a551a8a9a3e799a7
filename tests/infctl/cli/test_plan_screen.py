"""The screen of `infctl plan`, from plans made by hand. Golden files: tests/golden/plan/.

INFCTL_REFRESH_GOLDEN=1 pytest tests/infctl/cli/test_plan_screen.py    writes them anew; read the diff then
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.cli import plan_screen
from infctl.errors import Location, Problem
from infctl.figure import Figure, exactly, within
from infctl.gpus import Gpu
from infctl.plan import CardUse, IdleMemory, Plan, Replica, Setting
from infctl.sizing import Card, KvCapacity, MemoryNeed
from tests.infctl.settled import settled

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "plan"
GIB = 2**30
MIB = 2**20
L4 = int(22.05 * GIB)

RESOLVED = settled(gpu_memory_utilization=0.9)


def decoder(tokens: int = 80_400, **more: object) -> MemoryNeed:
    """About a Qwen2.5-7B on an L4."""
    kv = KvCapacity(tokens // 16, 16, 16 * 57_344, 512, tokens, tokens / 8192, fits=True, longest=8192)
    made = MemoryNeed(
        resolved=RESOLVED,
        card=Card("L4", L4),
        budget_bytes=int(0.9 * L4),
        weights=exactly(int(14.25 * GIB)),
        activation=within(500 * MIB, 0.1, "fitted"),
        serving=within(500 * MIB, 0.1, "fitted"),
        cudagraphs=within(300 * MIB, 0.2, "fitted"),
        non_torch=within(250 * MIB, 0.1, "fitted"),
        context=within(400 * MIB, 0.2, "fitted"),
        kv_bytes=within(tokens * 57_344, 0.05, "fitted"),
        kv=kv,
        kv_tokens=within(tokens, 0.05, "fitted"),
        fate="fits",
        reason="",
        max_model_len_that_fits=32_768,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def encoder() -> MemoryNeed:
    return decoder(
        resolved=replace(RESOLVED, max_model_len=8194),
        weights=exactly(int(1.06 * GIB)),
        activation=within(350 * MIB, 0.2, "fitted"),
        serving=within(350 * MIB, 0.2, "fitted"),
        cudagraphs=exactly(0),
        kv_bytes=exactly(0),
        kv=None,
        kv_tokens=exactly(0),
        max_model_len_that_fits=8194,
    )


def card_use(gpu: Gpu, *engines: tuple[str, MemoryNeed], kept: int = GIB) -> CardUse:
    used = sum((need.footprint for _, need in engines), exactly(0))
    return CardUse(
        gpu,
        tuple(name for name, _ in engines),
        used,
        kept if engines else 0,
        gpu.memory_bytes - used.expected - (kept if engines else 0),
    )


FLAGS = (
    Setting("--gpu-memory-utilization", "0.9", "written in the profile: the KV cache is what is left of it"),
    Setting("--max-num-seqs", "256", "what vLLM takes on a card below 70 GiB"),
)


def four_l4() -> Plan:
    gpus = tuple(Gpu(n, "L4", "", L4) for n in range(4))
    chat, small = decoder(), encoder()
    return Plan(
        replicas=(
            Replica("chat0", "chat", (gpus[0],), settings=FLAGS, need=chat),
            Replica("chat1", "chat", (gpus[1],), settings=FLAGS, need=chat),
            Replica("text2sql", "text2sql", (gpus[2],), settings=FLAGS, need=chat),
            Replica("embed", "embed", (gpus[3],), need=small),
            Replica("rerank", "rerank", (gpus[3],), need=small, starts_after="embed"),
        ),
        gpus=gpus,
        uses=(
            card_use(gpus[0], ("chat0", chat)),
            card_use(gpus[1], ("chat1", chat)),
            card_use(gpus[2], ("text2sql", chat)),
            card_use(gpus[3], ("embed", small), ("rerank", small)),
        ),
        idle_memory=(
            IdleMemory(
                gpus[3],
                int(17.2 * GIB),
                "chat",
                36_000,
                "models/chat/replicas: 3",
                "GPU 3 holds 17.2 GiB that nothing uses. A third chat replica fits there with about 36,000"
                " tokens: models/chat/replicas: 3",
            ),
        ),
        notes=(
            Problem(
                "chat takes 19.8 GiB, 0.90 of the card, not its weights alone: 14.2 GiB of weights",
                "models/chat/gpu_memory_utilization",
                Location("l4x4.yaml", 22, 29),
            ),
            Problem(
                "embed is an encoder and keeps no KV cache: 0.80 of the card has to be free when it starts",
                "models/embed/gpu_memory_utilization",
                Location("l4x4.yaml", 34, 29),
                "leave it out",
            ),
        ),
        warnings=(
            Problem(
                "one replica: while it restarts, nobody answers",
                "models/text2sql",
                Location("l4x4.yaml", 23, 3),
                "replicas: 2 where there is room",
            ),
        ),
    )


def two_h100() -> Plan:
    """A model across two cards, a third without work, a measured figure."""
    size = int(79.19 * GIB)
    gpus = (*(Gpu(n, "H100", f"GPU-{n}", size) for n in range(2)), Gpu(2, "L4", "", L4))
    big = decoder(
        400_000,
        card=Card("H100", size),
        weights=exactly(int(65.7 * GIB)),
        kv_bytes=Figure(8 * GIB, 8 * GIB, 8 * GIB, "measured"),
        kv_tokens=exactly(400_000, "measured"),
        resolved=replace(RESOLVED, max_model_len=131_072, tensor_parallel=2),
    )
    return Plan(
        replicas=(Replica("llama-3.3-70b-instruct", "llama-3.3-70b-instruct", gpus[:2], need=big),),
        gpus=gpus,
        uses=(
            *(card_use(gpu, ("llama-3.3-70b-instruct", big)) for gpu in gpus[:2]),
            card_use(gpus[2]),
        ),
    )


def on_cpu() -> Plan:
    card = Card("CPU", 16 * GIB, cpu=True)
    chat = decoder(
        11_650,
        card=card,
        weights=exactly(513 * MIB),
        activation=exactly(0),
        serving=exactly(0),
        cudagraphs=exactly(0),
        non_torch=within(GIB, 0.3, "assumed"),
        context=exactly(0),
        kv_bytes=exactly(GIB),
        kv_tokens=exactly(11_650),
        resolved=replace(RESOLVED, max_model_len=2048, compiled=False),
    )
    embed = replace(
        encoder(), card=card, weights=exactly(87 * MIB), resolved=replace(RESOLVED, max_model_len=256)
    )
    return Plan((Replica("chat", "chat", need=chat), Replica("embed", "embed", need=embed)))


def bare() -> Plan:
    """Placed by count alone: nothing is known of the models, nor of the card's memory."""
    gpu = Gpu(0, "B300")
    return Plan((Replica("chat", "chat", (gpu,)),), (gpu,))


CASES: dict[str, Callable[[], Plan]] = {"l4x4": four_l4, "h100x2": two_h100, "cpu": on_cpu, "bare": bare}
MEMORY = {"cpu": 16 * GIB}


def drawn(case: str, width: int, *, utf8: bool = True) -> list[str]:
    plan = CASES[case]()
    memory = MEMORY.get(case)
    return [
        *plan_screen.lines("inference-platform", plan, width, memory_bytes=memory, utf8=utf8),
        *plan_screen.why_lines(plan, width, utf8=utf8),
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_screen_is_as_it_was(case: str) -> None:
    file = GOLDEN / f"{case}.txt"
    text = "\n".join(drawn(case, 100)) + "\n"
    if os.environ.get("INFCTL_REFRESH_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
def test_nothing_is_wider_than_the_window(case: str, width: int) -> None:
    assert max(len(line) for line in drawn(case, width)) <= width


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_without_utf8_gets_ascii(case: str, width: int) -> None:
    told = drawn(case, width, utf8=False)
    assert all(line.isascii() for line in told)
    assert "?" not in "\n".join(told)
    assert max(len(line) for line in told) <= width


def test_a_shared_card_shows_each_engine_where_it_lies_and_the_other_as_such() -> None:
    told = drawn("l4x4", 100)
    first = next(number for number, line in enumerate(told) if line.startswith("GPU 3"))
    assert told[first].startswith("GPU 3  █▓░")
    assert told[first + 1].startswith("       ░░░█▓")


def test_the_two_usual_misreadings_are_corrected_in_words() -> None:
    told = " ".join(" ".join(drawn("l4x4", 400)).split())
    assert "note l4x4.yaml:22:29 chat takes 19.8 GiB" in told
    assert "embed is an encoder and keeps no KV cache" in told
    assert "rerank keeps no KV cache (encoders)" in told, "of which the plan itself said nothing"


def test_what_was_measured_says_so_and_promises_nothing_more() -> None:
    told = "\n".join(drawn("h100x2", 100))
    assert "measured here" in told
    assert "after the first start" not in told


def test_colour_adds_nothing_but_colour() -> None:
    plain = plan_screen.lines("x", four_l4(), 100)
    painted = plan_screen.lines("x", four_l4(), 100, paint=lambda text, style: f"<{style}>{text}</{style}>")
    bare = list(painted)
    for style in ("bold", "dim", "warning"):
        bare = [line.replace(f"<{style}>", "").replace(f"</{style}>", "") for line in bare]
    assert bare == plain


def test_a_start_order_is_told_with_its_reason() -> None:
    told = " ".join(" ".join(drawn("l4x4", 400)).split())
    assert "start on GPU 3 one after the other: embed, rerank; vLLM counts what a neighbour takes" in told


def test_replicas_that_hold_unlike_numbers_of_tokens_are_told_as_a_range() -> None:
    replicas = tuple(
        Replica(f"chat{n}", "chat", (), need=decoder(tokens)) for n, tokens in enumerate((80_400, 16_000))
    )
    told = "\n".join(plan_screen.lines("p", Plan(replicas), 120))
    assert "16,000 .. 80,400" in told
    assert "2.0 .. 9.8 x 8,192" in told
    alike = "\n".join(plan_screen.lines("p", Plan((replicas[0], replace(replicas[0], service="chat1"))), 120))
    assert "80,400 each" in alike
