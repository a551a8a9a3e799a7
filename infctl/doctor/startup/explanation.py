"""Why a start failed, and what to write instead: as a value, and as the error a person reads."""

from __future__ import annotations

from dataclasses import dataclass

from infctl.errors import EngineError, Location


@dataclass(frozen=True, slots=True)
class Proposal:
    """One key of the profile, and what would be right."""

    path: str
    """`models/chat/max_model_len`."""
    was: str
    """As it is written; empty: it is not."""
    becomes: str
    """What to write; empty: leave it out."""
    note: str
    """What that gives: `is the longest that fits`."""
    where: Location | None = None

    @property
    def says(self) -> str:
        """`l4x4.yaml:10:20  max_model_len: 131072  ->  80400 is the longest that fits`."""
        key = self.path.rpartition("/")[2]
        if not self.becomes:
            change = f"{key}: {self.was}  ->  leave it out: {self.note}"
        elif self.was:
            change = f"{key}: {self.was}  ->  {self.becomes} {self.note}"
        else:
            change = f"{key}: {self.becomes} {self.note}"
        return f"{self.where}  {change}" if self.where is not None else change


@dataclass(frozen=True, slots=True)
class Explanation:
    service: str
    """As it was asked for: `chat0`, `vllm-chat0`, `nginx`."""
    key: str
    """Of the cause, in `infctl.engine.cause_table`; empty: none was recognised."""
    what: str
    """`the KV cache for one 131,072-token request needs 7.0 GiB, 4.3 GiB are there`."""
    path: str = ""
    """The key of the profile that is to blame."""
    where: Location | None = None
    written: str = ""
    """What stands there."""
    proposals: tuple[Proposal, ...] = ()
    """Best first, each of them planned."""
    others: tuple[str, ...] = ()
    """Further changes that would fit: `or quantization: awq (46,000 tokens of KV cache)`."""
    do: str = ""
    """What to do where no value can be told."""
    lasting: bool = True
    """Another try ends the same way."""
    log: tuple[str, ...] = ()
    """The lines that tell."""

    @property
    def hint(self) -> str:
        """The proposals with their places, else the place and what to do; and where the whole log is."""
        lines = [proposal.says for proposal in self.proposals]
        if not lines and self.where is not None:
            key = self.path.rpartition("/")[2]
            lines.append(
                f"{self.where}  {key}: {self.written}" if self.written else f"{self.where}  {self.path}"
            )
        lines += [line.replace("would fit:", "or", 1) for line in self.others] if lines else self.others
        if not self.proposals and not self.others and self.do:
            lines.append(self.do)
        if not self.lasting:
            lines.append("another try may do: infctl up")
        return "\n".join([*lines, f"log: infctl logs {self.service.removeprefix('vllm-')} --since start"])

    def error(self, what: str = "did not start") -> EngineError:
        return EngineError(f"{self.service} {what}: {self.what}", hint=self.hint, log=self.log)
