"""Collects tensors and counts alike ones together: 61 layers of 256 experts become a few dozen entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from infctl.models import Weight


@dataclass(slots=True)
class Shelf:
    """Keeps the order in which tensors come, which is that in which vLLM creates them."""

    found: dict[Weight, list[int]] = field(default_factory=dict)
    """Without their layers -> the layers that hold one; no layers: outside of them."""

    def put(self, weight: Weight, layer: int | None = None) -> None:
        if not all(weight.shape):
            return  # a part that this model leaves out
        layers = self.found.setdefault(weight, [])
        if layer is not None:
            layers.append(layer)

    def put_all(self, weights: Iterable[Weight], layer: int | None = None) -> None:
        for weight in weights:
            self.put(weight, layer)

    @property
    def weights(self) -> tuple[Weight, ...]:
        return tuple(replace(weight, layers=tuple(layers)) for weight, layers in self.found.items())
