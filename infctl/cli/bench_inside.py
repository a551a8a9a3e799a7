"""Pages of a run that only the gateway's container reaches: engines and DCGM's exporter on their network.

`python -m infctl.cli.bench_inside` is the process that looks at them while a run goes on (bench/sampler.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.bench import sampler
from infctl.bench.sampler import Inside
from infctl.errors import InfctlError

if TYPE_CHECKING:
    from infctl.cli.project import Project

_ANSWER_S = 3.0
_KEEP = ["vllm:", "infctl_", "DCGM_"]


def looking(files: Sequence[Path], urls: Sequence[str]) -> Inside:
    told = {"files": [str(file) for file in files], "urls": list(urls)}
    return Inside(ask=_asking(told), module=__name__, told=told)


def _asking(told: Any) -> Callable[[], Sequence[str]]:
    opened: list[Project] = []

    def ask() -> Sequence[str]:
        from infctl.cli.project import open_project

        try:
            if not opened:
                opened.append(open_project([Path(file) for file in told["files"]]))
            return texts(opened[0], told["urls"])
        except InfctlError:
            return ()  # a run is measured without them, too

    return ask


def texts(project: Project, urls: Sequence[str]) -> list[str]:
    """Of those that answer. Raises EngineError where the gateway does not run."""
    asks = [{"name": url, "url": url, "timeout_s": _ANSWER_S} for url in urls]
    (answers,) = project.ask({"asks": asks, "keep": _KEEP})["rounds"]
    return [str(answer["body"]) for answer in answers.values() if answer.get("status") == 200]


if __name__ == "__main__":
    sampler.main(_asking)
