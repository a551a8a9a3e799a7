"""The log of a service that did not start -> the place in the profile, and a value that was planned. Pure.

explain(lines, service, loaded, plan)    the one to call
heard        what the log says of its memory, so that it is planned with the figures of this start
proposals    by cause: what to write instead, each tried by a plan before it is told
blame        by cause: which key of the profile
"""

from __future__ import annotations

from infctl.doctor.startup.explain import explain
from infctl.doctor.startup.explanation import Explanation, Proposal

__all__ = ["Explanation", "Proposal", "explain"]
