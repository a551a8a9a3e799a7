"""Random profiles: each renders or is refused with the reason, and what renders, Compose takes.

`make proof-compose` tries 500 of them; a usual run a few dozen.
"""

from __future__ import annotations

from pathlib import Path

from tests.conformance import compose_proof
from tests.examples import examples


def test_random_profiles_render_or_are_refused_with_the_reason(tmp_path: Path) -> None:
    tried = compose_proof.tried(examples(40), tmp_path)
    assert tried.faults == []
    assert tried.rendered >= tried.drawn * 0.25, tried.figure()
    assert tried.refused, "nothing was refused: too tame"
