"""Who asks for which name, and which name nobody tells."""

from __future__ import annotations

import re

from infctl.monitoring.names import metrics_in
from infctl.monitoring.used import Missing, Use, missing, source_of, uses
from tests.infctl.monitoring import published
from tests.infctl.monitoring.prometheus import TERMS, exprs

USES = {use.name: use for use in uses(TERMS, gpus_watched=True)}


def test_every_name_of_every_rule_is_among_them_with_the_rule() -> None:
    for rule, expr in exprs().items():
        for name in metrics_in(expr):
            assert any(user.endswith(f" {rule}") for user in USES[name].users), (rule, name)


def test_panels_and_choices_are_named_as_a_person_finds_them() -> None:
    assert "panel Models / KV cache" in USES["vllm:kv_cache_usage_perc"].users
    assert "alert EngineKvPressure" in USES["vllm:kv_cache_usage_perc"].users
    assert "choice of model in Models" in USES["infctl_backend_up"].users
    assert all(len(set(use.users)) == len(use.users) for use in USES.values())


def test_each_name_has_somebody_who_tells_it() -> None:
    by_source = {
        "gateway": published.of_gateway(),
        "vllm": published.of_vllm() | published.OF_PROCESSES,
        "dcgm": published.DCGM,
        "prometheus": published.OF_PROMETHEUS,
        "targets": published.OF_EVERY_TARGET,
    }
    for use in USES.values():
        if use.source != "rules":
            assert use.name in by_source[use.source], use
        else:
            assert re.fullmatch(r"infctl:[\w:]+", use.name)


def test_without_gpus_nothing_of_them_is_asked() -> None:
    assert "dcgm" not in {use.source for use in uses(TERMS, gpus_watched=False)}


def test_a_name_that_no_page_of_its_kind_tells_is_missing() -> None:
    asked = (
        Use("vllm:a", "vllm", ("alert A",)),
        Use("vllm:b", "vllm", ("panel B",)),
        Use("infctl_c", "gateway", ("panel C",)),
    )
    pages = {"vllm": {"chat": frozenset({"vllm:b"}), "embed": frozenset()}}
    assert list(missing(asked, pages)) == [Missing(asked[0], ("chat", "embed"))]  # type: ignore[arg-type]
    assert list(missing(asked, {})) == []


def test_a_names_source_is_told_by_how_it_begins() -> None:
    assert [source_of(name) for name in ("infctl:a", "infctl_a", "up", "process_start_time_seconds")] == [
        "rules", "gateway", "targets", "vllm",
    ]  # fmt: skip
