"""The annotated tree in ARCHITECTURE.md: one line a file, which is the first sentence of the file itself.

`python scripts/tree.py` rewrites it; tests/test_docs.py checks that it is current.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- tree: made by scripts/tree.py -->\n", "<!-- /tree -->\n"
FOLDERS = {
    "infctl": "the command line's program. Of gateway it imports gateway.config, and for bench the readers",
    "infctl/profile": "the YAML a person writes",
    "infctl/profile/schema": "what a profile may say",
    "infctl/profile/check": "what no single field can see",
    "infctl/packaged": "models that ship as Python packages",
    "infctl/models": "what a model is, as its files say it",
    "infctl/models/inventory": "every tensor of a checkpoint, from its config alone",
    "infctl/gpus": "which cards there are, and how large",
    "infctl/sizing": "how much memory an engine needs, and what its KV cache holds. Pure",
    "infctl/calibration": "what engines measured here, for the next plan",
    "infctl/plan": "what fits where, in bytes and tokens. Pure",
    "infctl/stack": "the platform as data",
    "infctl/monitoring": "what is measured, promised and alerted. Pure",
    "infctl/monitoring/alerts": "the alerts, a table a subject",
    "infctl/monitoring/boards": "Grafana's dashboards, as plain data",
    "infctl/render": "a stack as files a person can read",
    "infctl/render/engine_files": "what runs inside an engine's container before vLLM does",
    "infctl/history": "what was done to a platform, and how to go back",
    "infctl/engine": "what runs a stack",
    "infctl/engine/docker": "the same as containers, through the Docker SDK",
    "infctl/bench": "a measured load: log, figures, verdict. Imports gateway.wire.response and gateway.sse",
    "infctl/doctor": "what would go wrong, and why a start failed",
    "infctl/doctor/checks": "one file a check",
    "infctl/doctor/security": "the eight practices, one file each",
    "infctl/doctor/startup": "a failed start's log -> the place in the profile, and a value that fits. Pure",
    "infctl/health": "whether what runs is well: judgements of what was asked. Pure but for a handshake",
    "infctl/watch": "pages of metrics -> rates of the last seconds and minutes. Pure",
    "infctl/cli": "one file a command",
    "gateway": "a program of its own: python -m gateway --config gateway.yaml. Never imports infctl",
    "gateway/wire": "HTTP as values, without I/O",
    "gateway/net": "sockets",
    "gateway/policy": "decisions, without I/O or a clock",
    "gateway/store": "where counts, keys and settings survive",
    "gateway/workers": "several processes of one gateway",
    "gateway/audit": "the trail: written here, read by infctl audit as well",
    "gateway/redact": "personal data and keys, taken out of what is written",
    "gateway/tracing": "spans for OpenTelemetry; not loaded while it is off",
    "gateway/control": "health, metrics, admin, docs",
    "gateway/image": "what the gateway's image is built with",
    "gateway/image/app": "what the gateway's image carries beside the gateway",
    "bench/gateway": "the gateway beside nginx, vllm-router, smg and litellm",
    "bench/gateway_cost": "what a request costs beside nginx",
    "bench/generator": "how much infctl bench itself keeps up with, on one core",
    "bench/limits": "what admitting and settling a request costs",
    "scripts": "what make calls",
}
OTHERS = {
    "templates": "nginx.conf.j2: the one text without a serializer",
    "profiles": "reference.yaml (every field, explained) · l4x4 · one-gpu · local · their JSON Schema",
    "monitoring": "room for dashboards, alert rules and their tests",
    "requirements": "the locks: names, versions, hashes",
    "docs": "planning.md (how a plan is made and how sure it is) · bench.md · cli.md, made from --help",
    "tests": "mirrors the packages, and golden/ hazards/ conformance/ packaging/ e2e/",
}
WIDTH = 150


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring or of a script's first comment."""
    text = file.read_text("utf-8")
    if file.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    else:
        said = next((line[2:] for line in text.splitlines() if re.match(r"# ", line)), "")
    said = " ".join(said.split("\n\n")[0].split())
    match = re.match(r".*?[.!?](?= [A-Z`]|$)", said)
    said = (match[0] if match else said).rstrip(".:")
    return said if len(said) <= WIDTH else said[: WIDTH - 2].rsplit(" ", 1)[0] + " …"


def tree() -> str:
    lines = []
    for folder, about in FOLDERS.items():
        lines.append(f"{folder + '/':<28} {about}")
        files = [file for file in sorted((ROOT / folder).glob("*")) if file.suffix in {".py", ".sh"}]
        lines += [f"  {file.name:<26} {said}" for file in files if (said := sentence(file))]
    lines += [f"{folder + '/':<28} {about}" for folder, about in OTHERS.items()]
    return "```\n" + "\n".join(lines) + "\n```\n"


def rewritten(page: str) -> str:
    """The page with its tree made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{tree()}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), encoding="utf-8")
