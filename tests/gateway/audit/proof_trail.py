"""The trail, at length: writers killed with SIGKILL, then bytes changed and tails cut.

    python -m tests.gateway.audit.proof_trail [KILLS] [CHANGES]

KILLS times two writers of one folder are killed at a random moment; each time every chain verifies. Then
CHANGES times one byte of what they left is changed, or a tail cut off: each is found. The last line is the
figure; the exit code is 1 when it is short.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from gateway.audit import files
from gateway.audit.anchors import FileAnchors
from gateway.audit.verify import verify, verify_chain
from gateway.audit.writer import Rules, Trail
from tests.gateway.audit.writing import KEY, killed, started

LONGEST_S = 0.3
"""Between a writer's start and its end."""


def main(kills: int = 100, changes: int = 2_000) -> int:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    sys.stdout.write(f"seed {seed}\n")
    with tempfile.TemporaryDirectory() as held:
        folder, anchors = Path(held) / "audit", Path(held) / "anchors"
        whole = torn = 0
        for number in range(1, kills + 1):
            writers = [started(folder, anchors) for _ in range(2)]
            for writer in writers:
                time.sleep(chance.random() * LONGEST_S)
                killed(writer)
            verdicts = verify(folder, KEY, FileAnchors(anchors))
            whole += all(verdict.broken is None for verdict in verdicts)
            torn = sum("torn" in note for verdict in verdicts for note in verdict.notes)
            if number % 10 == 0:
                sys.stdout.write(
                    f"{number} kills: {sum(v.records for v in verdicts)} records, {torn} torn lines\n"
                )
        _closed(folder, anchors)
        found = sum(_found(folder, FileAnchors(anchors), chance) for _ in range(changes))
    sys.stdout.write(
        f"audit: {whole} of {kills} kills left chains that verify ({torn} torn lines told as torn);"
        f" {found} of {changes} changes and cuts were found\n"
    )
    return 0 if (whole, found) == (kills, changes) else 1


def _closed(folder: Path, anchors: Path) -> None:
    """Each chain once more, to a regular end: behind the anchor nothing was promised."""
    trails = [Trail(folder, FileAnchors(anchors), KEY, Rules(), alarm=lambda *_: None) for _ in range(2)]
    for trail in trails:
        trail.close(60)


def _found(folder: Path, anchors: FileAnchors, chance: random.Random) -> bool:
    """One change among the last files of a chain: they are verified from the anchor's point of view."""
    chain, trail = chance.choice(sorted(files.of_chains(folder).items()))
    anchor = anchors.load(chain)
    assert anchor is not None
    mine = [each for each in trail if each.number <= anchor.file]
    file = chance.choice([each for each in mine[-8:] if each.path.stat().st_size])  # killed as it was opened
    kept = file.path.read_bytes()
    at = chance.randrange(len(kept.rpartition(b"\n")[0]) or 1)
    cuts = file is trail[-1] and chance.random() < 0.3
    file.path.write_bytes(
        kept[:at] if cuts else kept[:at] + bytes([kept[at] ^ 1 << chance.randrange(8)]) + kept[at + 1 :]
    )
    try:
        return verify_chain(chain, trail, KEY, anchor).broken is not None
    finally:
        file.path.write_bytes(kept)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
