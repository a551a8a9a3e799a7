"""What a backend can do instead of a reply, and what it is not to blame for."""

from __future__ import annotations

import errno
from typing import Final, Literal

Phase = Literal["connect", "send", "head", "body"]

OURS: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN)
)
"""What says nothing of the backend when no connection can be made: this machine has run out of something."""


class UpstreamFailed(Exception):  # noqa: N818 - a fact about the backend, not a fault of ours
    """A backend gave no honest reply.

    `reused`: a kept connection failed before any byte came; the backend may just have closed it as idle.
    `begun`: bytes of its answer had come; of its body, where the phase is that.
    `ours`: the backend was not even asked; what ran out is on our side.
    """

    def __init__(
        self,
        phase: Phase,
        reason: str,
        *,
        timed_out: bool = False,
        reused: bool = False,
        begun: bool = False,
        ours: bool = False,
    ) -> None:
        super().__init__(f"{phase}: {reason}")
        self.phase = phase
        self.reason = reason
        self.timed_out = timed_out
        self.reused = reused
        self.begun = begun
        self.ours = ours
