"""Wanted x observed = plan: the plan's text is what is compared."""

from __future__ import annotations

from dataclasses import replace

from infctl.engine.model import Observed, ObservedService
from infctl.engine.reconcile import describe, reconcile
from infctl.stack import ConfigFile, Readiness, Service, Stack

CHAT = Service(
    "chat",
    "engine",
    ("python", "-m", "vllm", "--model", "/m/chat", "--max-model-len", "2048", "--enforce-eager"),
    env=(("VLLM_CPU_KVCACHE_SPACE", "1"),),
    secret_env=(("VLLM_API_KEY", "BACKEND_API_KEY"),),
)
EDGE = Service(
    "nginx",
    "edge",
    ("nginx", "-c", "/r/nginx.conf"),
    files=(ConfigFile("/r/nginx.conf", "aa", "reload"), ConfigFile("/r/tls/key.pem", "kk", "restart")),
    reload_signal="HUP",
)
DIGESTS = {"BACKEND_API_KEY": "d1"}


def running(service: Service, **fields) -> ObservedService:
    digests = tuple((name, DIGESTS[name]) for _, name in service.secret_env)
    settled = {"state": "ready", "pid": 7, "running": service, "secret_digests": digests}
    return ObservedService(service.name, **{**settled, **fields})


def plan(wanted: list[Service], found: list[ObservedService], *, supervised=True, digests=DIGESTS) -> str:
    stack = Stack("toy", "process", tuple(wanted))
    return describe(reconcile(stack, Observed(supervised, tuple(found)), digests))


def test_nothing_to_do_is_an_empty_plan():
    assert plan([CHAT, EDGE], [running(CHAT), running(EDGE)]) == ""


def test_what_does_not_run_is_started():
    assert plan([CHAT, EDGE], [running(CHAT)]) == "+ nginx  start      not running"


def test_what_is_gone_from_the_profile_is_removed_first():
    text = plan([EDGE], [running(CHAT)])
    assert text == "- chat   remove     no longer in the profile\n+ nginx  start      not running"


def test_a_changed_flag_is_named_with_both_values():
    wanted = replace(CHAT, argv=(*CHAT.argv[:6], "4096", "--enforce-eager"))
    assert plan([wanted], [running(CHAT)]) == "~ chat  replace    --max-model-len 2048 -> 4096"


def test_added_and_removed_flags_are_named():
    wanted = replace(CHAT, argv=(*CHAT.argv[:7], "--dtype", "float32"))
    assert (
        plan([wanted], [running(CHAT)]) == "~ chat  replace    --enforce-eager removed, --dtype float32 added"
    )


def test_flags_written_with_an_equals_sign_are_the_same_flags():
    wanted = replace(CHAT, argv=(*CHAT.argv[:5], "--max-model-len=4096", "--enforce-eager"))
    assert "--max-model-len 2048 -> 4096" in plan([wanted], [running(CHAT)])


def test_another_program_is_named():
    wanted = replace(EDGE, argv=("/usr/sbin/nginx", "-c", "/r/nginx.conf"))
    assert "nginx -c /r/nginx.conf -> /usr/sbin/nginx -c" in plan([wanted], [running(EDGE)])


def test_reordered_arguments_have_a_cause_too():
    wanted = replace(CHAT, argv=(*CHAT.argv[:3], "--enforce-eager", *CHAT.argv[3:7]))
    assert plan([wanted], [running(CHAT)]) == "~ chat  replace    the order of its arguments"


def test_environment_changes_are_named():
    wanted = replace(CHAT, env=(("VLLM_CPU_KVCACHE_SPACE", "2"), ("X", "y")))
    assert plan([wanted], [running(CHAT)]) == "~ chat  replace    VLLM_CPU_KVCACHE_SPACE 1 -> 2, X=y added"


def test_a_changed_secret_is_named_and_its_value_is_not():
    text = plan([CHAT], [running(CHAT)], digests={"BACKEND_API_KEY": "d2"})
    assert text == "~ chat  replace    secret BACKEND_API_KEY changed"


def test_another_gpu_is_a_replacement():
    assert plan([replace(CHAT, gpu="1")], [running(replace(CHAT, gpu="0"))]) == (
        "~ chat  replace    GPU 0 -> 1"
    )


def test_a_file_that_a_reload_reads_is_reloaded():
    wanted = replace(EDGE, files=(replace(EDGE.files[0], sha256="bb"), EDGE.files[1]))
    assert plan([wanted], [running(EDGE)]) == "↻ nginx  reload     nginx.conf changed"


def test_a_file_that_a_reload_does_not_read_is_a_replacement():
    wanted = replace(EDGE, files=(EDGE.files[0], replace(EDGE.files[1], sha256="zz")))
    assert plan([wanted], [running(EDGE)]) == "~ nginx  replace    key.pem changed"


def test_a_file_to_reload_of_a_service_that_cannot_is_a_replacement():
    old = replace(EDGE, reload_signal=None)
    wanted = replace(old, files=(replace(EDGE.files[0], sha256="bb"), EDGE.files[1]))
    assert plan([wanted], [running(old)]) == "~ nginx  replace    nginx.conf changed"


def test_limits_and_order_change_nothing():
    wanted = replace(CHAT, ready=Readiness("http://x/", 9.0), stop_timeout_s=1.0, after=("x",), models=("m",))
    assert plan([wanted], [running(CHAT)]) == ""


def test_services_that_nobody_watches_get_a_supervisor_and_are_not_touched():
    assert plan([CHAT], [running(CHAT)], supervised=False) == "!   supervise  nobody watches the services"


def test_a_given_up_service_is_started_again():
    text = plan([CHAT], [running(CHAT, state="failed", pid=None, last_exit="exit code 1")])
    assert text == "+ chat  start      failed before: exit code 1"


def test_a_service_in_backoff_is_left_to_the_supervisor():
    assert plan([CHAT], [running(CHAT, state="backoff", pid=None)]) == ""


def test_a_service_whose_record_was_lost_is_replaced():
    text = plan([CHAT], [running(CHAT, running=None)])
    assert text == "~ chat  replace    it is not known from what it was started"
