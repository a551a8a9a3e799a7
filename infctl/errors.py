"""Every error a user can meet, and the exit code of its class.

    InfctlError                 1
    ├── ProfileError            3    the YAML, its overlays, its variables (all problems at once)
    ├── PlanError               4    it does not fit
    ├── EngineError             5    Docker or a local process
    ├── GatewayError            6    the gateway or its control plane
    ├── LockError               7    somebody else is changing this platform
    ├── BenchError              9    a measurement that cannot be made, or is not to be believed
    ├── UsageError             64    the command line
    └── InternalError          70    a fault of ours
    Interrupted               130    Ctrl-C

An error is data: what happened, where, why, and what to do next. `infctl.cli.console` is the only printer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file a person wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


Where = Callable[[str], Location | None]
"""The place of a path such as `models/chat/replicas` in the file a person wrote."""


def nowhere(_path: str) -> None:
    """For what was not read from a file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `where  path: message`, then what would be right.

    `path` is the place in the profile, written with slashes (`models/chat/replicas`), or a service name.
    """

    message: str
    path: str = ""
    where: Location | None = None
    hint: str = ""

    def __str__(self) -> str:
        head = "  ".join(part for part in (str(self.where or ""), self.path) if part)
        return f"{head}: {self.message}" if head else self.message


class InfctlError(Exception):
    """What happened, why (`problems`, `log`), and what to do next (`hint`)."""

    exit_code = 1
    kind = "error"

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[Problem] = (),
        hint: str = "",
        log: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)
        self.hint = hint
        self.log = tuple(log)
        """The last lines of the service that failed, as it wrote them."""


class ProfileError(InfctlError):
    exit_code = 3
    kind = "profile"


class PlanError(InfctlError):
    exit_code = 4
    kind = "plan"


class EngineError(InfctlError):
    exit_code = 5
    kind = "engine"


class GatewayError(InfctlError):
    exit_code = 6
    kind = "gateway"


class LockError(InfctlError):
    exit_code = 7
    kind = "lock"


class BenchError(InfctlError):
    exit_code = 9
    kind = "bench"


class UsageError(InfctlError):
    exit_code = 64
    kind = "usage"


class InternalError(InfctlError):
    exit_code = 70
    kind = "internal"


class Interrupted(InfctlError):  # noqa: N818 - it is what happened, not an error of anyone's
    exit_code = 130
    kind = "interrupted"
