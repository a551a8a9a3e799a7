"""Do the models fit the cards?"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, of_problem, ok
from infctl.plan import Plan


def look(case: Case) -> Iterator[Finding]:
    if "plan" in case.wrong:
        raise case.wrong["plan"]
    if case.plan is not None:
        yield from judge(case.plan)


def judge(plan: Plan) -> Iterator[Finding]:
    cards = {gpu.index for replica in plan.replicas for gpu in replica.gpus}
    where = f"on {len(cards)} GPU{'s' * (len(cards) != 1)}" if cards else "on the CPU"
    count = len(plan.replicas)
    sized = [replica for replica in plan.replicas if replica.need is not None]
    yield ok(
        f"{count} engine{'s' * (count != 1)} {where}",
        "" if len(sized) == count else f"{count - len(sized)} of them placed by count, not by bytes",
    )
    yield from (of_problem(problem, "warning") for problem in plan.warnings)
