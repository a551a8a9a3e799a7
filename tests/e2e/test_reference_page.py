"""The reference platform's page, command by command, on what l4x4 renders.

What no machine without GPUs can do is played: vLLM and Grafana by small images, the download by a cache that
is complete, `nvidia-smi` and the editor by small programs. The files are those of the shipped profile; an
overlay gives them these images and ports of the test's own, and Compose's own override takes the GPU requests
away.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.render.engine_files import weights
from tests.docker import hurried
from tests.docker.fixtures import NAMES
from tests.docker.host import DockerHost, DockerProject, clean_env, health, state, until
from tests.docker.images import wheels
from tests.e2e.local import free_ports
from tests.e2e.page import Answer, Page

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ENGINES = ("chat0", "chat1", "text2sql", "embed", "rerank")
HEALTHY_S = 120.0
KEY, SECOND_KEY = "sk-clients-first", "sk-clients-second"
NANO = f"""#!/bin/sh
sed -i 's/^GATEWAY_API_KEY=.*/GATEWAY_API_KEY={KEY}/; s/^BACKEND_API_KEY=.*/BACKEND_API_KEY=sk-engines/' "$1"
"""
NVIDIA_SMI = "#!/bin/sh\necho 'NVIDIA-SMI 570.00  4 x NVIDIA L4'\n"


@pytest.fixture(scope="module")
def page(
    docker_host: DockerHost,
    stand_in_image: str,
    base_image: str,
    nginx_image: str,
    prometheus_image: str,
    alertmanager_image: str,
    grafana_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Page]:
    above = tmp_path_factory.mktemp("page")
    folder = above / "inference-platform"
    folder.mkdir()
    https, http, plain, prometheus, grafana, alertmanager = range(first := free_ports(6), first + 6)
    images = {
        "engines": {"image": stand_in_image, "pull": "never"},
        "edge": {"image": nginx_image, "bind": "127.0.0.1", "https_port": https, "http_port": http},
        "monitoring": {
            "prometheus": {"image": prometheus_image, "bind": "127.0.0.1", "port": prometheus},
            "grafana": {"image": grafana_image, "bind": "127.0.0.1", "port": grafana},
            "alertmanager": {"image": alertmanager_image, "port": alertmanager},
            "dcgm": {"enabled": False},
        },
    }
    with ExitStack() as kept:
        fcntl.flock(kept.enter_context(NAMES.open("a")), fcntl.LOCK_EX)
        built = f"{docker_host.name()}:page"
        kept.callback(docker_host.client.images.remove, built, force=True)
        project = kept.enter_context(docker_host.project(folder))
        overlay = {**images, "name": project.name, "gateway": {"image": built, "listen": {"port": plain}}}
        certificate(above / "ssl_certificate")
        render(folder, overlay)
        without_gpus(folder, base_image)
        yield Page(above, environment(above, https, plain))


def render(folder: Path, overlay: dict[str, Any]) -> None:
    """`git clone` of the page: here the folder comes from infctl."""
    shutil.copy(ROOT / "profiles" / "l4x4.yaml", folder / "l4x4.yaml")
    (folder / "here.yaml").write_text(yaml.safe_dump(overlay))
    argv = [*hurried.COMMAND, "render", "-f", "l4x4.yaml", "-f", "here.yaml", "-o", "."]
    done = subprocess.run(
        argv, cwd=folder, env=clean_env(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def without_gpus(folder: Path, base: str) -> None:
    """Compose reads an override by itself. The image is built without a network, on what is here."""
    engines = "".join(f"  {name}: {{deploy: !reset null, ulimits: !reset null}}\n" for name in ENGINES)
    build = json.dumps({"args": {"BASE": base, "BUILD": base}, "network": "none"})
    override = f"services:\n{engines}  gateway: {{build: {build}}}\n"
    (folder / "docker-compose.override.yml").write_text(override)
    image = folder / "gateway" / "image"
    for path, data, _ in wheels((image / "requirements.txt").read_text()):
        (image / path).parent.mkdir(exist_ok=True)
        (image / path).write_bytes(data)


def certificate(folder: Path) -> None:
    folder.mkdir()
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=your-host", "-addext", "subjectAltName=DNS:your-host"]
    argv += ["-keyout", str(folder / "cert.key"), "-out", str(folder / "cert-fullchain.crt")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    if os.geteuid() == 0:  # a key that root alone can read is no key for nginx
        os.chown(folder / "cert.key", 10001, 10001)


def environment(above: Path, https: int, plain: int) -> dict[str, str]:
    """The shell of the reader: `your-host` is this machine, and two programs are played."""
    programs = above / "bin"
    programs.mkdir()
    for name, text in (("nano", NANO), ("nvidia-smi", NVIDIA_SMI)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (above / ".curlrc").write_text(
        f'connect-to = "your-host:443:127.0.0.1:{https}"\n'
        f'connect-to = "localhost:8000:127.0.0.1:{plain}"\n'
        f'cacert = "{above}/ssl_certificate/cert-fullchain.crt"\n'
        'silent\nshow-error\nmax-time = 60\nwrite-out = "\\n%{http_code}"\n'
    )
    return {**clean_env(), "PATH": f"{programs}:{os.environ['PATH']}", "CURL_HOME": str(above)}


def project_of(page: Page, host: DockerHost) -> DockerProject:
    name = yaml.safe_load((page.folder / "docker-compose.yml").read_text())["name"]
    return DockerProject(host, str(name), page.folder)


def all_healthy(project: DockerProject) -> None:
    for service in (*ENGINES, "gateway", "nginx"):
        for one in project.containers(service):
            until(lambda one=one: health(one) == "healthy", HEALTHY_S, f"{one.name} is healthy")


def downloaded(folder: Path) -> None:
    """As weights.py leaves it behind."""
    compose = yaml.safe_load((folder / "docker-compose.yml").read_text())
    for text in compose["services"]["weights"]["command"]:
        if re.fullmatch(r"[\w.-]+/[\w.@-]+", text):
            repo, commit = weights.repo(folder / "hf-cache", text), "c" * 40
            file = repo.folder / "snapshots" / commit / "config.json"
            file.parent.mkdir(parents=True)
            file.write_text("{}")
            repo.remember(commit, {"config.json": 2})


def edit(file: Path, before: str, after: str) -> None:
    """As an editor saves: a new file in the old one's place."""
    text = file.read_text()
    assert before in text
    new = file.with_name(f"{file.name}~")
    new.write_text(text.replace(before, after))
    new.replace(file)


def test_quick_start(page: Page, docker_host: DockerHost) -> None:
    page.folder /= page.tick("quick start", "cd ").removeprefix("cd ")
    page.run("quick start", "cp .env.example .env")
    page.run("quick start", "nano .env")
    page.run("quick start", "mkdir -p hf-cache")
    downloaded(page.folder)
    page.run("quick start", "docker compose up -d --build")
    page.run("quick start", "docker compose -f docker-compose.monitoring.yml up -d")
    page.key = KEY
    project = project_of(page, docker_host)
    all_healthy(project)
    shown = page.run("quick start", "docker compose ps")
    names = (*(f"vllm-{name}" for name in ENGINES), "inference-gateway", "inference-nginx")
    assert {name for name in names if name not in shown} == set()
    assert state(project.container("weights"))["ExitCode"] == 0
    watching = DockerProject(docker_host, f"{project.name}-monitoring", page.folder)
    for service in ("prometheus", "grafana"):
        until(
            lambda s=service: health(watching.container(s)) == "healthy", HEALTHY_S, f"{service} is healthy"
        )


def test_every_endpoint_answers(page: Page) -> None:
    chat = page.curl("chat completions", "curl -X POST https://your-host/v1/chat/completions")
    assert chat.status == 200, chat
    assert chat.json["choices"][0]["message"]["content"]
    sql = page.curl("text2sql", "curl -X POST https://your-host/v1/text2sql")
    assert sql.status == 200, sql
    assert sql.json["model"] == "text2sql"
    vectors = page.curl("embeddings", "curl -X POST https://your-host/v1/embeddings")
    assert vectors.status == 200, vectors
    assert vectors.json["data"][0]["embedding"]
    ranked = page.curl("rerank", "curl -X POST https://your-host/v1/rerank")
    assert ranked.status == 200, ranked
    assert ranked.json["results"][0]["index"] == 0


def test_every_variable_is_explained_with_the_same_value(page: Page) -> None:
    explained = (page.folder / ".env.example").read_text().splitlines()
    while page.left["variables"]:
        line = page.tick("variables", "")
        assert line in {text.removeprefix("# ") for text in explained}


def test_logs_are_followed(page: Page) -> None:
    page.follow("logs", "docker logs -f inference-gateway", '"event":"started"')
    page.follow("logs", "docker compose logs -f", "Starting vLLM server")
    page.follow("logs", "docker logs -f vllm-chat0", "Starting vLLM server")


def test_health_is_told(page: Page) -> None:
    assert page.curl("health", "curl https://your-host/health").status == 200
    detailed = page.curl("health", "curl https://your-host/health/detailed")
    assert detailed.status == 200
    assert "vllm-chat0" in detailed.text


def test_quotas_are_told(page: Page) -> None:
    """Of somebody who has not called yet, and of all: this machine's own address has."""
    one = page.curl("quota", "curl https://your-host/admin/quota/192.168.1.100")
    assert one.status == 200, one
    assert {row["code"]: row["limit"] for row in one.json["limits"]} == {
        "requests_per_second": 100,
        "in_flight": 120,
        "requests_per_day": 100_000,
        "tokens_per_day": 10_000_000,
        "tokens_per_month": 300_000_000,
    }
    every = page.curl("quota", "curl https://your-host/admin/quotas")
    assert every.status == 200, every
    (mine,) = every.json["quotas"]
    used = {row["code"]: row["settled"] for row in mine["limits"]}
    assert used["requests_per_day"] == 4, "the calls of test_every_endpoint_answers"
    assert used["tokens_per_day"] == used["tokens_per_month"] > 0


def test_infctl_looks_at_what_compose_started_and_at_its_prometheus(page: Page) -> None:
    """Asked inside the gateway's container: engines and Prometheus publish nothing for it."""

    def asked(*words: str) -> dict[str, Any]:
        argv = [*hurried.COMMAND, *words, "-f", "l4x4.yaml", "-f", "here.yaml", "--json"]
        done = subprocess.run(
            argv, cwd=page.folder, env=page.env, capture_output=True, text=True, timeout=120, check=False
        )
        return dict(json.loads(done.stdout or done.stderr))

    def looks() -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for one in asked("health", "--deep")["checks"]:
            found.setdefault(one["check"], []).append((one["verdict"], one["what"]))
        return found

    until(lambda: "warning" not in str(looks()["metrics"]), HEALTHY_S, "Prometheus has read every target")
    found = looks()
    assert found["metrics"] == [
        ("ok", "each tells its figures"),
        ("ok", f"Prometheus reads {len(ENGINES) + 3} targets, each well"),
    ]
    assert found["tls"][0][0] == "warning", "it is signed by nobody that this machine knows"
    assert "your-host" in found["tls"][0][1]
    for check in ("gateway", "store", "disk", "time"):  # stand-ins know no SQL and no meaning
        assert [verdict for verdict, _ in found[check]] == ["ok"], (check, found[check])

    names = asked("doctor", "metrics")
    assert {one["told_by"] for one in names["missing"]} <= {"vllm"}, "stand-ins tell the most used ones alone"
    assert names["not_read"] == []
    assert {one["told_by"] for one in names["read"]} == {"gateway", "vllm", "prometheus"}


def test_restarts_take_an_edited_env_and_rebuild(page: Page, docker_host: DockerHost) -> None:
    project = project_of(page, docker_host)
    edit(page.folder / ".env", f"GATEWAY_API_KEY={KEY}", f"GATEWAY_API_KEY={SECOND_KEY}")
    page.run("restart", "docker compose restart gateway")
    all_healthy(project)
    until(lambda: detailed(page, KEY) == 401, 30, "the old key is refused")
    page.key = SECOND_KEY
    until(lambda: detailed(page, SECOND_KEY) == 200, 30, "the new key is taken")
    page.run("restart", "docker compose restart")
    all_healthy(project)
    before = {one.id for one in project.containers()}
    page.run("restart", "docker compose up -d --build")
    assert {one.id for one in project.containers()} == before


def asked(page: Page, path: str, body: str = "", key: str = "") -> Answer:
    """As the page's own curls, and not one of them."""
    argv = ["curl", f"https://your-host{path}", "-H", f"Authorization: Bearer {key or page.key}"]
    argv += ["-H", "Content-Type: application/json", "-d", body] if body else []
    done = subprocess.run(argv, env=page.env, capture_output=True, text=True, timeout=60, check=False)
    text, _, status = done.stdout.rstrip().rpartition("\n")
    return Answer(int(status or 0), text)


def detailed(page: Page, key: str) -> int:
    return asked(page, "/health/detailed", key=key).status


def test_the_gateway_is_scaled_by_hand(page: Page, docker_host: DockerHost) -> None:
    """With container_name Compose refuses; the comment beside it says what to delete."""
    project, file = project_of(page, docker_host), page.folder / "docker-compose.yml"
    written = file.read_text()
    (line,) = re.findall(r" {4}container_name: inference-gateway.*\n", written)
    assert "delete this line and write deploy: {replicas: 3}" in line
    added = "".join(f"    {text}\n" for text in page.tick("scale the gateway", "deploy:").splitlines())
    edit(file, line, line + added)
    refused = project.compose("up", "-d", check=False)
    assert refused.returncode != 0
    assert "container_name" in refused.stderr
    edit(file, line, "")
    page.run("scale the gateway", "docker compose up -d")
    assert len(project.containers("gateway")) == 3
    all_healthy(project)
    until(lambda: detailed(page, page.key) == 200, 30, "nginx has found them")
    file.write_text(written)
    project.compose("up", "-d")
    assert [one.name for one in project.containers("gateway")] == ["inference-gateway"]
    all_healthy(project)
    until(lambda: detailed(page, page.key) == 200, 30, "nginx has found it")


def test_an_engines_flags_are_tuned_in_the_file(page: Page, docker_host: DockerHost) -> None:
    """On chat0: `docker compose up -d` replaces that one and no other."""
    project, file = project_of(page, docker_host), page.folder / "docker-compose.yml"
    written = file.read_text()
    share = [page.tick("tuning", "--gpu-memory-utilization").split()[1] for _ in range(2)]
    length = [page.tick("tuning", "--max-model-len").split()[1] for _ in range(2)]
    caching = page.tick("tuning", "--enable-prefix-caching")
    for number in range(2):
        text = written.replace('utilization, "0.9"', f'utilization, "{share[number]}"', 1)
        text = text.replace('--max-model-len, "8192"', f'--max-model-len, "{length[number]}", {caching}', 1)
        file.write_text(text)
        before = {one.name: one.id for one in project.containers()}
        project.compose("up", "-d")
        after = {one.name: one.id for one in project.containers()}
        assert {name for name in after if before[name] != after[name]} == {"vllm-chat0"}
        until(lambda: health(project.container("chat0")) == "healthy", HEALTHY_S, "chat0 is healthy")
        argv = project.container("chat0").attrs["Config"]["Cmd"]
        assert argv[argv.index("--max-model-len") :][1:3] == [length[number], caching]
    file.write_text(written)
    project.compose("up", "-d")
    all_healthy(project)


def test_trouble_is_looked_into(page: Page) -> None:
    assert '"event":"started"' in page.run("gateway does not start", "docker logs inference-gateway")
    told = page.run("gateway does not start", "docker exec inference-gateway env | grep GATEWAY")
    assert "GATEWAY_CONFIG=/etc/infctl/gateway.yaml" in told
    assert "sk-" not in told
    checked = page.run("gateway does not start", "docker exec inference-gateway python -c")
    assert "4 models, nothing wrong" in checked
    assert "start.py: loaded" in page.run("backend unhealthy", "docker logs vllm-chat0")
    assert "L4" in page.run("backend unhealthy", "nvidia-smi")
    assert page.curl("backend unhealthy", "curl http://localhost:8000/health").status == 200
    assert "L4" in page.run("memory", "nvidia-smi")


def test_limits_are_adjusted_in_env(page: Page, docker_host: DockerHost) -> None:
    """... and hold; so does what is not on the page: one request at once, then one in a minute."""
    before = limits(page.curl("rate limits", "curl https://your-host/admin/quotas"))
    assert (before["requests_per_second"]["per_s"], before["in_flight"]["limit"]) == (50, 120)
    env = (page.folder / ".env").read_text()
    for name in ("MAX_RPS_PER_IP", "MAX_INFLIGHT_PER_IP"):
        (line,) = re.findall(rf"(?m)^# {name}=.*$", env)
        edit(page.folder / ".env", line, page.tick("rate limits", name))
    page.run("rate limits", "docker compose restart gateway")
    all_healthy(project_of(page, docker_host))
    until(lambda: asked(page, "/health/detailed").status == 200, 30, "the gateway is back")
    now = limits(asked(page, "/admin/quotas"))
    assert (now["requests_per_second"]["per_s"], now["in_flight"]["limit"]) == (100, 200)
    assert {row["level"] for row in (now["requests_per_second"], now["in_flight"])} == {"environment"}
    assert now["requests_per_day"]["settled"] == before["requests_per_day"]["settled"], "kept"
    edit(page.folder / ".env", "MAX_RPS_PER_IP=100", "MAX_RPS_PER_IP=0.01\nRPS_BURST=1")
    project_of(page, docker_host).compose("restart", "gateway")
    all_healthy(project_of(page, docker_host))
    until(lambda: asked(page, "/health/detailed").status == 200, 30, "the gateway is back")
    embed = '{"model": "embed", "input": "one"}'
    assert asked(page, "/v1/embeddings", embed).status == 200
    refused = asked(page, "/v1/embeddings", embed)
    assert (refused.status, refused.json["error"]["code"]) == (429, "requests_per_second")


def limits(answer: Answer) -> dict[str, dict[str, Any]]:
    """Of the one tenant there is."""
    assert answer.status == 200, answer
    (mine,) = answer.json["quotas"]
    return {row["code"]: row for row in mine["limits"]}


def test_no_command_of_the_page_is_forgotten(page: Page) -> None:
    assert {section: lines for section, lines in page.left.items() if lines} == {}
