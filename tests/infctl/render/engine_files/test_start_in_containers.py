"""start.py in real containers: neighbours on a GPU never load at once, however Docker starts them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infctl.render import engine_files
from tests.docker.host import DockerHost, DockerProject, ask, log, run_in, state, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

START = Path(engine_files.__file__).parent / "start.py"
ENGINES = ("a", "b", "c")
KEY = "s3cret-of-the-engines"


def service(image: str, name: str) -> dict[str, object]:
    vllm = [
        "python3",
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        "m",
        "--served-model-name",
        name,
    ]
    health = "http://127.0.0.1:8000/health"
    return {
        "image": image,
        "restart": "unless-stopped",
        "user": "1234:1234",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],
        "entrypoint": ["python3", "/infctl/start.py"],
        "command": ["--lock", "/shared/gpu0", "--health", health, "--key-file", "/shared/key", "--", *vllm],
        "environment": {"STAND_IN_MARK": "/shared/marks", "STAND_IN_LOAD_S": "0.7"},
        "volumes": ["./engine:/infctl:ro", "./shared:/shared"],
        "stop_grace_period": "20s",
    }


@pytest.fixture
def project(docker_project: DockerProject, stand_in_image: str) -> DockerProject:
    """Three engines of one GPU, none started yet."""
    folder = docker_project.folder
    for name, mode in (("engine", 0o755), ("shared", 0o777)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    (folder / "engine" / "start.py").write_bytes(START.read_bytes())
    (folder / "shared" / "key").write_text(KEY)
    services = {name: service(stand_in_image, name) for name in ENGINES}
    file = {"name": docker_project.name, "services": services}
    (folder / "docker-compose.yml").write_text(json.dumps(file))
    return docker_project


def marks(project: DockerProject) -> list[str]:
    file = project.folder / "shared" / "marks"
    return file.read_text().splitlines() if file.exists() else []


def loaded(project: DockerProject, times: int) -> list[str]:
    """The marks, once that many loads have ended."""
    until(lambda: sum(m.startswith("end ") for m in marks(project)) >= times, 60, f"{times} loads")
    return marks(project)


def alone(found: list[str]) -> bool:
    pairs = zip(found[::2], found[1::2], strict=True)
    return all(end == begin.replace("begin", "end") for begin, end in pairs)


def test_after_up_and_after_restart_one_loads_at_a_time(project: DockerProject) -> None:
    project.compose("up", "-d")
    assert alone(loaded(project, 3))
    project.compose("restart")
    found = loaded(project, 6)
    assert alone(found)
    assert {m for m in found[6:] if m.startswith("end")} == {"end a", "end b", "end c"}


def test_as_the_daemon_restarts_them_one_loads_at_a_time(project: DockerProject) -> None:
    """After its own restart the daemon starts all of them at once, whatever depends_on says."""
    project.compose("up", "-d")
    loaded(project, 3)
    engines = project.containers()
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(lambda one: one.kill("SIGKILL"), engines))
        list(pool.map(lambda one: one.start(), engines))
    assert alone(loaded(project, 6))


def test_one_that_is_killed_while_it_loads_lets_the_next_one_load(project: DockerProject) -> None:
    file = project.folder / "docker-compose.yml"
    data = json.loads(file.read_text())
    data["services"]["a"]["environment"]["STAND_IN_HANG"] = "1"
    file.write_text(json.dumps(data))
    project.compose("up", "-d", "a")
    until(lambda: "begin a" in marks(project), 30, "a loads")
    project.compose("up", "-d", "b")
    until(lambda: "another engine of gpu0 is loading" in log(project.container("b")), 30, "b waits")
    project.container("a").kill("SIGKILL")
    assert loaded(project, 1) == ["begin a", "begin b", "end b"]


def test_the_key_is_not_in_what_docker_tells_of_the_container(project: DockerProject) -> None:
    project.compose("up", "-d", "a")
    loaded(project, 1)
    one = project.container("a")
    one.reload()
    assert KEY not in json.dumps(one.attrs)
    assert KEY not in json.dumps(one.top())
    assert KEY not in log(one)
    until(lambda: "Starting vLLM server" in log(one), 10, "it listens")
    code, said = run_in(one, "python3", "-c", "import urllib.request as u; "
                        "u.urlopen('http://127.0.0.1:8000/v1/models')")  # fmt: skip
    assert code != 0
    assert "HTTP Error 401" in said
    assert "vllm:" in ask(one, "http://127.0.0.1:8000/metrics")


@pytest.mark.parametrize("when", ["loading", "serving"])
def test_docker_stop_ends_it_at_once(project: DockerProject, when: str) -> None:
    project.compose("up", "-d", "a")
    one = project.container("a")
    until(lambda: f"{'begin' if when == 'loading' else 'end'} a" in marks(project), 30, when)
    one.stop(timeout=20)
    assert state(one)["ExitCode"] in {0, 143}  # 137 would be the SIGKILL after the grace period


def test_orphans_of_an_engine_are_reaped(docker_host: DockerHost, project: DockerProject) -> None:
    code = "import subprocess, time\nsubprocess.run(['sh', '-c', 'sleep 2 & true'])\ntime.sleep(600)"
    argv = ["--lock", "/shared/gpu0", "--health", "http://127.0.0.1:1/", "--", "python3", "-c", code]
    volumes = [f"{project.folder / 'engine'}:/infctl:ro", f"{project.folder / 'shared'}:/shared"]
    image = project.host.images.stand_in()
    with docker_host.run(image, argv, entrypoint=["python3", "/infctl/start.py"], volumes=volumes) as one:
        until(lambda: processes(one).count("python3") == 2, 20, "the engine runs")
        until(lambda: "sleep" not in processes(one), 20, "the orphan has ended and is gone")
        assert processes(one).count("python3") == 2


def processes(container) -> list[str]:
    """Names of all processes, zombies too."""
    code = (
        "import pathlib\nfor p in pathlib.Path('/proc').glob('[0-9]*/stat'):\n"
        "    try: t = p.read_text()\n    except OSError: continue\n"
        "    if p.parent.name != str(__import__('os').getpid()): print(t[t.index('(') + 1:t.rindex(')')])"
    )
    return run_in(container, "python3", "-c", code)[1].split()
