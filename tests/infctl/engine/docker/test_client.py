"""The connection: DOCKER_HOST, contexts, ssh; and what is said where there is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infctl.engine.docker import client, ssh
from infctl.errors import EngineError
from tests.docker.host import DockerHost

SOCKET = "/var/run/docker.sock"


def test_no_engine_is_told_with_what_to_do(tmp_path: Path):
    with pytest.raises(EngineError, match="there is no Docker engine here") as caught:
        client.connect({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "install Docker" in caught.value.hint


def test_an_engine_that_does_not_run_is_told_apart(tmp_path: Path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(EngineError, match="is not running"):
        client.connect({"DOCKER_HOST": f"unix://{path}"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_is_closed_to_this_user_is_told(tmp_path: Path):
    path = tmp_path / "closed.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))
        path.chmod(0o600)
        os.seteuid(12345)
        try:
            with pytest.raises(EngineError, match="may not be used by this user") as caught:
                client.connect({"DOCKER_HOST": f"unix://{path}"})
        finally:
            os.seteuid(0)
    assert "usermod -aG docker" in caught.value.hint


def test_the_local_engine_needs_no_variable(docker_host: DockerHost):
    found = client.connect({})
    assert found.is_local
    assert found.version >= client.API_OLDEST
    found.close()


def context(folder: Path, name: str, host: str) -> dict[str, str]:
    """A docker context as the docker command keeps it, in a HOME of its own."""
    import hashlib

    meta = folder / ".docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    about = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (meta / "meta.json").write_text(json.dumps(about))
    return {"DOCKER_CONTEXT": name, "HOME": str(folder)}


def test_a_context_is_honoured(docker_host: DockerHost, tmp_path: Path):
    environment = context(tmp_path, "other", f"unix://{SOCKET}")
    found = client.connect(environment)
    assert (found.name, found.address) == ("other", f"unix://{SOCKET}")
    found.close()


def test_docker_host_wins_over_a_context(docker_host: DockerHost, tmp_path: Path):
    environment = context(tmp_path, "other", "unix:///nowhere.sock")
    found = client.connect({**environment, "DOCKER_HOST": f"unix://{SOCKET}"})
    assert found.name == ""
    found.close()


def test_the_context_in_use_is_taken_where_no_variable_names_one(docker_host: DockerHost, tmp_path: Path):
    home = {"HOME": context(tmp_path, "other", f"unix://{SOCKET}")["HOME"]}
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "other"}')
    found = client.connect(home)
    assert found.name == "other"
    found.close()


def test_a_context_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(EngineError, match="there is no docker context 'gone'") as caught:
        client.connect({"DOCKER_CONTEXT": "gone", "HOME": str(tmp_path)})
    assert "docker context ls" in caught.value.hint


def test_an_engine_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Old:
        api_version = "1.39"
        timeout = 1.0

    monkeypatch.setattr(client, "_api", lambda *_: Old())
    with pytest.raises(EngineError, match=r"speaks API 1\.39; 1\.41 .* is the oldest"):
        client.connect({"DOCKER_HOST": "tcp://old:2375"})


# Over ssh: a program of that name that opens a connection here, as the far side's docker would.

SSH = f"""#!{sys.executable}
import os, socket, sys, threading
with open(os.environ["SSH_TOLD"], "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if "nobody" in sys.argv:
    sys.exit("ssh: connect to host nobody port 22: Connection refused")
if sys.argv[-2:] != ["system", "dial-stdio"]:
    print("1.41")
    sys.exit(0)
link = socket.socket(socket.AF_UNIX)
link.connect("{SOCKET}")
def copy(read, write, end):
    while data := read(65536):
        write(data)
    end()
up = threading.Thread(target=copy, args=(
    lambda n: os.read(0, n), link.sendall, lambda: link.shutdown(socket.SHUT_WR)), daemon=True)
up.start()
def out(data):
    while data:
        data = data[os.write(1, data):]
copy(link.recv, out, lambda: None)
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


def test_over_ssh_the_machines_own_ssh_is_the_connection(docker_host: DockerHost, fake_ssh: Path, base_image):
    from infctl.engine.docker.hands import Hands

    found = client.connect({"DOCKER_HOST": "ssh://ann@gpu-box:2222"})
    assert not found.is_local
    assert found.version >= client.API_OLDEST
    told = fake_ssh.read_text().splitlines()[-1]
    assert "-l ann -p 2222 -- gpu-box docker system dial-stdio" in told
    with docker_host.run(base_image, ["sleep", "60"]) as container:
        hands = Hands(found, {})
        said = hands.exec(container.id, ["/bin/sh", "-c", "cat; exit 4"], b"over ssh")
        assert (said.code, said.text) == (4, "over ssh")
        assert hands.find(str(container.name)) == container.id
    found.close()


def test_over_ssh_connections_are_used_again_and_end(docker_host: DockerHost, fake_ssh: Path):
    before = set(threading.enumerate())
    found = client.connect({"DOCKER_HOST": "ssh://gpu-box"})
    for _ in range(5):
        found.api.version()
    assert len(fake_ssh.read_text().splitlines()) == 2, "one to ask, one that stays"
    found.close()
    assert set(threading.enumerate()) == before


def test_ssh_that_fails_is_told_in_its_own_words(fake_ssh: Path):
    with pytest.raises(EngineError, match="Connection refused") as caught:
        client.connect({"DOCKER_HOST": "ssh://nobody"})
    assert "ssh nobody docker version" in caught.value.hint


@pytest.mark.parametrize("address", ["ssh://", "ssh://-oProxyCommand=x"])
def test_an_address_without_a_host_never_reaches_ssh(address: str):
    with pytest.raises(EngineError, match="names no host"):
        ssh.argv(address)


def test_nothing_of_the_sdk_is_loaded_before_an_engine_is_asked():
    code = (
        "import sys; import infctl.engine.docker.engine, infctl.engine.docker.refusals\n"
        "print([m for m in ('docker', 'requests', 'urllib3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
