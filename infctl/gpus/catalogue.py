"""A card's name -> what cudaMemGetInfo calls its total: vLLM's utilisation is a share of that.

Measured: the figure was seen in a start-up line or an error of vLLM or PyTorch; where several were seen, the
lowest, since newer drivers keep more for themselves. Nominal: from the data sheet, less what such cards lose:
a sixteenth where ECC lives in the card's own GDDR, and then 2.5 % (GDDR) or 1.5 % (HBM) for the driver. Those
shares are a little on the safe side of every measured card.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from infctl.figure import GIB


@dataclass(frozen=True, slots=True)
class CatalogueCard:
    name: str
    """As infctl writes it; a profile may write it so."""
    memory_bytes: int
    """In all, as cudaMemGetInfo counts."""
    nominal: bool
    """Computed from the data sheet."""
    capability: tuple[int, int]
    """CUDA compute capability."""
    aliases: tuple[str, ...] = ()


def _seen(name: str, gib: float, capability: tuple[int, int], *aliases: str) -> CatalogueCard:
    return CatalogueCard(name, int(gib * GIB), False, capability, aliases)


def _hbm(name: str, gib: int, capability: tuple[int, int], *aliases: str) -> CatalogueCard:
    return CatalogueCard(name, int(gib * 0.985 * GIB), True, capability, aliases)


def _gddr(name: str, gib: int, capability: tuple[int, int], *aliases: str) -> CatalogueCard:
    return CatalogueCard(name, int(gib * 0.975 * GIB), True, capability, aliases)


def _gddr_ecc(name: str, gib: int, capability: tuple[int, int], *aliases: str) -> CatalogueCard:
    return CatalogueCard(name, int(gib * 15 / 16 * 0.975 * GIB), True, capability, aliases)


CARDS: tuple[CatalogueCard, ...] = (
    # Data centre, Blackwell and Hopper.
    _hbm("B300", 268, (10, 3), "B300 SXM6 AC", "GB300"),
    _seen("B200", 178.35, (10, 0)),  # pytorch/ao#4002: a device query
    _hbm("GB200", 185, (10, 0)),
    _seen("H200", 139.72, (9, 0), "H200 SXM", "H200 141GB", "H200 141GB HBM3e"),  # vllm#23192
    _hbm("H200 NVL", 140, (9, 0)),
    _hbm("GH200 144GB", 141, (9, 0), "GH200 144G HBM3e"),
    _hbm("GH200 96GB", 95, (9, 0), "GH200", "GH200 480GB"),
    # Exactly 85,017,493,504 bytes in fourteen starts of vLLM 0.25, driver 580.
    CatalogueCard(
        "H100", 85_017_493_504, False, (9, 0),
        ("H100 80GB HBM3", "H100 80GB", "H100 SXM", "H100 SXM5", "H100 SXM5 80GB"),
    ),
    _hbm("H100 PCIe", 80, (9, 0), "H100 80GB PCIe", "H100 PCIe 80GB"),
    _hbm("H100 NVL", 93, (9, 0), "H100 94GB", "H100 NVL 94GB"),
    _hbm("H800", 80, (9, 0), "H800 80GB HBM3", "H800 PCIe"),
    _hbm("H20", 95, (9, 0), "H20 96GB", "H20-3e 96GB"),
    # Ampere, Volta, Turing.
    _seen(  # vllm-omni#276: 79.32; HiDream-ai/VAREdit#6: 79.25; older drivers: 79.15
        "A100 80GB", 79.15, (8, 0), "A100-SXM4-80GB", "A100 80GB PCIe", "A100 PCIe 80GB", "A100-SXM-80GB",
    ),
    _hbm("A100 40GB", 40, (8, 0), "A100-SXM4-40GB", "A100-PCIE-40GB", "A100-SXM-40GB"),
    _hbm("A800 80GB", 80, (8, 0), "A800-SXM4-80GB", "A800 80GB PCIe", "A800"),
    _seen("A30", 23.53, (8, 0), "A30 24GB"),  # google/RB-Modulation#5
    _gddr_ecc("A40", 48, (8, 6), "A40 48GB"),
    _gddr_ecc("A10G", 24, (8, 6), "A10G 24GB"),
    _seen("A10", 21.99, (8, 6), "A10 24GB"),  # zai-org/CogVLM#236
    _gddr_ecc("A16", 16, (8, 6)),  # one of its four GPUs
    _gddr_ecc("A2", 16, (8, 6)),
    _seen("V100 32GB", 31.74, (7, 0), "V100-SXM2-32GB", "V100-PCIE-32GB"),  # ChatGLM-Finetuning#73
    _hbm("V100 16GB", 16, (7, 0), "V100-SXM2-16GB", "V100-PCIE-16GB"),
    _seen("T4", 14.56, (7, 5), "T4 16GB"),  # CatVTON#133: 14.56; others 14.57, 14.58, 14.75
    # Ada.
    _seen("L4", 22.05, (8, 9), "L4 24GB"),  # vLLM's start-up line; also pytorch#175666
    _seen("L40", 44.40, (8, 9), "L40 48GB"),  # Qwen3-VL#2097
    _seen("L40S", 44.42, (8, 9), "L40S 48GB"),  # Step-Video-T2V#8: 44.42; Wan2.1#205: 44.53
    _gddr_ecc("L20", 48, (8, 9), "L20 48GB"),
    # Workstations.
    _seen(  # antirez/ds4#431
        "RTX PRO 6000", 94.97, (12, 0),
        "RTX PRO 6000 Blackwell", "RTX PRO 6000 Blackwell Workstation Edition",
        "RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
    ),
    _gddr("RTX PRO 5000", 48, (12, 0), "RTX PRO 5000 Blackwell"),
    _gddr("RTX PRO 4500", 32, (12, 0), "RTX PRO 4500 Blackwell"),
    _gddr("RTX PRO 4000", 24, (12, 0), "RTX PRO 4000 Blackwell"),
    # MTVCrafter#21, with ECC on (nvidia-smi then says 46,068 MiB, without it 49,140).
    _seen("RTX 6000 Ada", 44.43, (8, 9), "RTX 6000 Ada Generation"),
    _gddr("RTX 5000 Ada", 32, (8, 9), "RTX 5000 Ada Generation"),
    _gddr("RTX 4500 Ada", 24, (8, 9), "RTX 4500 Ada Generation"),
    _gddr("RTX 4000 Ada", 20, (8, 9), "RTX 4000 Ada Generation", "RTX 4000 SFF Ada Generation"),
    _gddr("RTX 2000 Ada", 16, (8, 9), "RTX 2000 Ada Generation"),
    _gddr("RTX A6000", 48, (8, 6), "A6000"),
    _gddr("RTX A5500", 24, (8, 6), "A5500"),
    _seen("RTX A5000", 23.68, (8, 6), "A5000"),  # zai-org/GLM-4#730
    _gddr("RTX A4500", 20, (8, 6), "A4500"),
    _seen("RTX A4000", 15.61, (8, 6), "A4000"),  # VGGT-Long#6
    _seen("RTX A2000 12GB", 11.53, (8, 6), "RTX A2000", "A2000"),  # vllm#12030
    # Desktops.
    _seen("RTX 5090", 31.36, (12, 0)),  # TrajectoryCrafter#20: 31.36; Wan2.1#465: 31.37
    _gddr("RTX 5080", 16, (12, 0)),
    _gddr("RTX 5070 Ti", 16, (12, 0)),
    _seen("RTX 5060 Ti 16GB", 15_816 / 1024, (12, 0), "RTX 5060 Ti"),  # lucebox#407: 15,816 MiB
    _seen("RTX 4090", 23.52, (8, 9)),  # vllm#42049 (driver 580); 23.64 and 23.65 with older ones
    _gddr("RTX 4080", 16, (8, 9), "RTX 4080 SUPER"),
    _gddr("RTX 4070 Ti SUPER", 16, (8, 9)),
    _gddr("RTX 4060 Ti 16GB", 16, (8, 9)),
    _seen("RTX 3090", 23.68, (8, 6), "RTX 3090 24GB"),  # vllm#16343 (driver 550)
    _gddr("RTX 3090 Ti", 24, (8, 6)),
    _gddr("RTX 3080 12GB", 12, (8, 6)),
    _seen("RTX 3080", 9.78, (8, 6), "RTX 3080 10GB"),  # zai-org/CogVideo#34
    _gddr("RTX 3060", 12, (8, 6), "RTX 3060 12GB"),
)  # fmt: skip
"""`A100` alone, or `V100`, is not here: two sizes carry that name, and a guess could cost half the memory."""

CATALOGUE: Mapping[str, int] = MappingProxyType(
    {name: card.memory_bytes for card in CARDS for name in (card.name, *card.aliases)}
)
"""Name or alias, exactly as written above -> memory in bytes."""

_MAKER = re.compile(r"\b(nvidia|tesla|geforce|quadro|graphics|gpu)\b|[\W_]+")


def lookup(name: str) -> CatalogueCard | None:
    """By name or alias; case, blanks, dashes and the maker's words (NVIDIA, GeForce, Tesla) do not count."""
    return _table().get(_key(name))


def nearest(name: str, count: int = 3) -> tuple[str, ...]:
    """The names of `count` cards that read most like `name`, the closest first."""
    wanted = _key(name)
    found: dict[str, float] = {}
    for key, card in _table().items():
        alike = difflib.SequenceMatcher(None, wanted, key, autojunk=False).ratio()
        same_start = bool(wanted) and key.startswith(wanted)
        found[card.name] = max(found.get(card.name, 0.0), alike + same_start)
    return tuple(sorted(found, key=lambda known: (-found[known], known))[:count])


@cache
def _table() -> dict[str, CatalogueCard]:
    return {key: card for card in CARDS for key in _keys(card)}


def _keys(card: CatalogueCard) -> Iterator[str]:
    for name in (card.name, *card.aliases):
        key = _key(name)
        yield key
        if re.fullmatch(r"rtx\d{4}(ti|super|tisuper)?(\d+gb)?", key):
            yield key.removeprefix("rtx")  # people say "a 4090"


def _key(name: str) -> str:
    return _MAKER.sub("", name[:100].lower())
