"""The keys of every `--json` answer. They are a promise: keys may be added, none is renamed or removed.

A value is written as its type; `?` means null is possible; `[x]` is a list of x.
"""

from __future__ import annotations

_LOCATED = {
    "message": "string",
    "path": "string, such as models/chat/replicas",
    "file": "string?",
    "line": "integer?",
    "column": "integer?",
    "hint": "string",
}
ERROR = {
    "error": {
        "kind": "string: usage, profile, plan, engine, gateway, lock, bench, internal, interrupted",
        "exit_code": "integer",
        "message": "string",
        "hint": "string",
        "problems": [_LOCATED],
        "log": ["string: the last lines of the service that failed"],
    }
}
_ACTION = {
    "kind": "string: create, start, replace, reload, remove, supervise",
    "service": "string",
    "cause": "string",
    "effect": "string: what it does to memory and tokens; empty where nothing is known",
    "away_s": "number?: seconds for which nobody serves what it serves; null: not known, or nothing ran",
}
_FILE_CHANGE = {
    "path": "string",
    "change": "string: new, changed, hand_edited, gone",
    "diff": "string, unified",
}
_ANSWER = {
    "model": "string",
    "task": "string",
    "question": "string",
    "answer": "string: what it said, or why it said nothing",
    "answered": "boolean",
    "right": "boolean?: null where nobody can say",
    "seconds": "number",
}
_BAND = {
    "expected": "integer",
    "low": "integer",
    "high": "integer",
    "origin": "string: computed, measured, fitted, assumed",
}
_NEED = {
    "fits": "boolean",
    "reason": "string: why it does not fit, or what to know although it does",
    "weights_bytes": "integer: of one GPU, as all bytes here",
    "activation_bytes": "integer",
    "cudagraph_bytes": "integer",
    "non_torch_bytes": "integer",
    "kv_available_bytes": "integer?: null where the model keeps no KV cache; negative: what is missing",
    "kv_tokens": "integer?",
    "num_gpu_blocks": "integer: 1 where the model keeps no KV cache, as vLLM says",
    "max_concurrency": "number?: requests of max_model_len at once",
    "max_model_len_that_fits": "integer: the longest context, up to what the model takes",
    "fate": "string: fits, weights, kv, context, start",
    "block_size": "integer?: tokens",
    "serving_bytes": "integer: the activation once everything is compiled",
    "context_bytes": "integer: the CUDA context, beside vLLM's budget",
    "budget_bytes": "integer",
    "bands": "object: key above -> {expected, low, high, origin: computed, measured, fitted, assumed}",
    "arguments": "object: vLLM's arguments with nothing left open",
    "warnings": ["string"],
}
INIT = {
    "profile": "string",
    "schema": "string",
    "from": "string",
    "env_file": "string",
    "keys_added": ["string"],
    "machine": {
        "system": "string",
        "cpus": "integer",
        "memory_bytes": "integer?",
        "vector": "string?: avx512, avx2",
        "gpus": [{"name": "string", "memory_bytes": "integer"}],
        "docker": "boolean",
    },
}
PROFILES = {"profiles": [{"name": "string", "summary": "string"}]}
_ACTUAL = {
    "service": "string",
    "planned_kv_tokens": "integer?",
    "planned_num_gpu_blocks": "integer?",
    "actual_kv_tokens": "integer?: null where it has not started here with these settings",
    "actual_num_gpu_blocks": "integer?",
    "difference_percent": "number?: of the tokens",
    "starts": "integer",
}
PLAN = {
    "name": "string",
    "gpus": [
        {
            "index": "integer",
            "name": "string",
            "uuid": "string: empty for a card that was not looked at",
            "memory_bytes": "integer?",
            "nominal": "boolean: from the data sheet, not from a driver",
            "engines": ["string: in start order"],
            "used_bytes": _BAND,
            "kept_bytes": "integer?: kept free on purpose",
            "unused_bytes": "integer?",
        }
    ],
    "cpu": {"memory_bytes": "integer?: of the machine; cpu is null where no engine runs on it"},
    "models": [
        {
            "name": "string",
            "architecture": "string?",
            "facts_from": "string?",
            "replicas": "integer",
            "max_model_len": "integer?",
            "kv_tokens": "integer?: of all replicas",
            "max_concurrency": "number?: of all replicas",
        }
    ],
    "engines": [
        {
            "service": "string",
            "model": "string",
            "gpus": ["integer"],
            "starts_after": "string?: the engine on the same GPU that has to answer first",
            "settings": [{"flag": "string", "value": "string", "why": "string"}],
            "need": _NEED,
        }
    ],
    "idle_memory": [
        {
            "gpu": "integer",
            "free_bytes": "integer",
            "model": "string?: of which a further replica would fit",
            "kv_tokens": "integer: that the replica would have",
            "change": "string: what to write",
            "says": "string",
        }
    ],
    "notes": [_LOCATED],
    "warnings": [_LOCATED],
    "actual": [_ACTUAL],
}
SIZE = {
    **_NEED,
    "model": "string",
    "architecture": "string",
    "facts_from": "string",
    "gpu": "string",
    "gpu_total_bytes": "integer: as cudaMemGetInfo counts",
    "gpu_total_nominal": "boolean: from the data sheet, not from a driver",
    "vllm_version": "string: 0.25, 0.32",
}
VALIDATE = {
    "ok": "boolean",
    "name": "string",
    "runtime": "string: process, docker",
    "files": ["string"],
    "models": [{"name": "string", "tasks": ["string"], "replicas": "integer", "aliases": ["string"]}],
    "warnings": ["string"],
    "missing_secrets": ["string"],
}
RENDER = {"directory": "string", "files": [{"path": "string", "bytes": "integer", "sha256": "string"}]}
DIFF = {
    "name": "string",
    "changes": "boolean",
    "actions": [_ACTION],
    "files": [_FILE_CHANGE],
    "notes": ["string: what is odd about what runs"],
    "warnings": ["string"],
    "set_at_run_time": [
        {
            "tenant": "string",
            "model": "string?: of this one alone",
            "limits": "object: limit -> its figure",
        }
    ],
}
STATUS = {
    "name": "string",
    "runtime": "string",
    "supervised": "boolean",
    "supervisor": {
        "pid": "integer?",
        "state": "string: ready, stopped",
        "memory_bytes": "integer?",
        "why": "string",
    },
    "now": "number: seconds since the epoch",
    "gateway": {
        "url": "string",
        "reachable": "boolean",
        "status": "string: ok, degraded, down, unknown",
        "version": "string",
        "draining": "boolean",
        "why": "string: why it cannot be asked",
    },
    "services": [
        {
            "name": "string",
            "role": "string: engine, gateway, edge, monitoring; prepare, weights where they failed",
            "models": ["string"],
            "state": "string: ready, loading, waiting, unhealthy, backoff, failed, stopped, stopping, "
            "down, drained, draining",
            "pid": "integer?",
            "device": "string: CPU, or the GPU's number",
            "memory_bytes": "integer?: of its GPUs where their driver says, else main memory",
            "in_flight": "integer?",
            "requests": "integer?",
            "errors": "integer?",
            "restarts": "integer",
            "started_at": "number?: seconds since the epoch",
            "why": "string",
            "container": "string: empty for a process",
            "image": "string: empty for a process",
            "memory_of": "string: gpu, main; empty: memory_bytes is not known",
            "planned_bytes": "integer?: of the same memory, as it was planned",
            "kv_use": "number?: 0 to 1",
            "waiting": "integer?: requests in the engine's own queue",
            "tokens_per_s": "number?: generated; null in the first look of --watch",
            "backend": "string: its name at the gateway; empty: it knows none",
            "breaker": "string: closed, open, half_open; empty: not known",
            "capacity": "integer?: requests at once",
            "expected_in_s": "number?: until one that is loading is ready",
        }
    ],
    "warnings": ["string"],
    "notes": ["string: what the engine found odd"],
    "near_limits": [
        {
            "tenant": "string",
            "code": "string: tokens_per_day, ...",
            "limit": "integer",
            "left": "integer",
            "reset_s": "number",
        }
    ],
}
UP = {
    "name": "string",
    "changes": "boolean",
    "actions": [_ACTION],
    "files": [_FILE_CHANGE],
    "notes": ["string: what is odd about what runs"],
    "applied": "boolean: false with --dry-run",
    "answers": [_ANSWER],
    "measured": [_ACTUAL],
    "status": "as of `infctl status`; null with --dry-run",
}
SCALE = UP
ROLLBACK = {**UP, "to": "integer: the entry of the history"}
HISTORY = {
    "name": "string",
    "entries": [
        {
            "number": "integer",
            "at": "number: seconds since the epoch",
            "who": "string: user@host",
            "command": "string",
            "outcome": "string: done, failed, interrupted, unfinished",
            "why": "string: where it was not done",
            "seconds": "number",
            "runs_now": "boolean",
            "can_be_applied": "boolean: by infctl rollback",
            "actions": [_ACTION],
        }
    ],
}
PULL = {
    "name": "string",
    "fetched": ["string: an image, a model"],
    "locked": "object: image -> digest, as infctl.lock has it now",
}
IMAGES = {
    "name": "string",
    "images": [
        {
            "image": "string: repository:tag",
            "services": ["string"],
            "here": "boolean",
            "id": "string",
            "digest": "string?: null where it was built here",
            "bytes": "integer?",
            "age_s": "integer?: seconds since it was made",
            "locked": "string?: the digest in infctl.lock",
            "as_locked": "boolean?",
        }
    ],
}
UNLOCK = {
    "name": "string",
    "holder": "object?: {owner, host, pid}; null: nobody",
    "since": "number?: seconds since the epoch",
    "unlocked": "boolean",
}
DOCTOR = {
    "name": "string",
    "runtime": "string",
    "healthy": "boolean: no failure",
    "failures": "integer",
    "warnings": "integer",
    "findings": [
        {
            "check": "string",
            "verdict": "string: ok, warning, failure, skipped",
            "what": "string",
            "why": "string",
            "fix": "string",
            "path": "string, such as edge/tls/certificate",
            "file": "string?",
            "line": "integer?",
            "column": "integer?",
        }
    ],
}
_PLACED = {
    "path": "string, such as models/chat/max_model_len",
    "file": "string?",
    "line": "integer?",
    "column": "integer?",
}
DOCTOR_LOGS = {
    "service": "string",
    "cause": "string: empty where the log tells none that is known",
    "what": "string",
    **_PLACED,
    "proposals": [
        {
            "was": "string: as it is written; empty: it is not",
            "becomes": "string: what to write; empty: leave it out",
            "note": "string: what that gives",
            **_PLACED,
        }
    ],
    "others": ["string: further changes that would fit"],
    "do": "string: what to do where no value can be told",
    "lasting": "boolean: another try ends the same way",
    "log": ["string: the lines that tell"],
}
DOCTOR_METRICS = {
    "good": "boolean: no name is missing and every page was read",
    "asked": "integer: names that dashboards and rules ask for",
    "missing": [
        {
            "name": "string",
            "told_by": "string: gateway, vllm, dcgm, prometheus",
            "asked_for_by": [
                "string: panel BOARD / TITLE, alert NAME, recording NAME, choice of NAME in BOARD"
            ],
            "pages": ["string: those that were looked at"],
        }
    ],
    "read": [{"page": "string", "told_by": "string", "names": "integer"}],
    "not_read": [{"page": "string", "why": "string"}],
    "not_looked_at": ["string: told_by of names for which no page was read"],
}
DOWN = {"name": "string", "stopped": ["string"], "removed": ["string"]}
RESTART = {"name": "string", "restarted": ["string"], "ready_s": "object: service -> seconds"}
HEALTH = {
    "healthy": "boolean",
    "status": "string: ok, degraded, down",
    "reasons": ["string"],
    "answers": [_ANSWER],
    "checks": [
        {
            "check": "string: gateway, models, tls, metrics, store, audit, disk, time",
            "verdict": "string: ok, warning, failure, skipped",
            "where": "string",
            "what": "string",
            "why": "string",
            "fix": "string",
        }
    ],
    "via": "string?: where the questions went",
    "checked_at": "number: seconds since the epoch",
}
TOP = {
    "by": "string: tenant, model, backend",
    "sort": "string: requests, tokens, errors, refused",
    "at": "number: seconds since the epoch",
    "seconds": "number: what the figures a second are means over",
    "gateway": "string: why its figures are missing; empty: they are there",
    "busiest": [
        {
            "name": "string",
            "requests_per_s": "number",
            "tokens_in_per_s": "number",
            "tokens_out_per_s": "number",
            "errors": "integer: the platform's, in these seconds",
            "refused": "integer: by limits, quotas, keys, in these seconds",
            "requests": "integer: since the gateway began",
            "tokens": "integer: since the gateway began",
        }
    ],
}
LOGS = {"service": "string", "at": "number?: seconds since the epoch", "line": "string"}
AUDIT_RECORD = {
    "seq": "integer: from 1, without a gap",
    "prev": "string: the hash of the record before",
    "event": "string: request, refused, audit_file, audit_lost, audit_removed, audit_hidden, admin",
    "ts": "string, RFC 3339",
    "hash": "string: and whatever else was recorded, as a request's log line has it",
}
AUDIT_VERIFY = {
    "good": "boolean",
    "folder": "string",
    "keyed": "boolean: a key was given",
    "chains": [
        {
            "chain": "string",
            "good": "boolean",
            "records": "integer: good ones, up to the first break",
            "files": "integer",
            "head": "string: the hash of the last good one",
            "anchored": "boolean",
            "broken": {
                "kind": "string: changed, gap, reordered, cut, wrong_key; `broken` is null where nothing is",
                "file": "string",
                "line": "integer",
                "record": "integer",
                "what": "string",
            },
            "notes": ["string"],
        }
    ],
}
AUDIT_EXPORT = {"folder": "string", "files": "integer", "bytes": "integer"}
_FIGURES = {
    "requests_per_second": "number?: or none, for no limit; as all of these",
    "burst": "integer?",
    "tokens_per_minute": "integer?",
    "in_flight": "integer?",
    "requests_per_day": "integer?",
    "tokens_per_day": "integer?",
    "requests_per_month": "integer?",
    "tokens_per_month": "integer?",
    "models": "list of string?: those it may use",
}
_LIMIT = {
    "code": "string: requests_per_second, in_flight, tokens_per_day, ...",
    "limit": "integer?: null: there is none; of a rate: at once",
    "per_s": "number?: of a rate: comes back in a second",
    "level": "string: who set it: key, run_time, tenant, environment, profile, built_in",
    "settled": "integer?: used, of a day or a month",
    "leased": "integer?: held for requests under way or to come",
    "unknown": "integer?: of settled: as reserved, because nobody knows what was used",
    "left": "integer?",
    "resets_at": "number?: seconds since the epoch",
    "reset_s": "number?",
}
QUOTA_SHOW = {
    "as_of": "number: seconds since the epoch, by the clock of the store",
    "refused_since": "number: when the gateway started",
    "quotas": [
        {
            "tenant": "string",
            "known_by": ["string: profile, run_time, key, counts; empty: by nothing"],
            "limits": [_LIMIT],
            "models": "list of string?: it may use; null: all",
            "by_key": [{"key": "string", "name": "string", "limits": [_LIMIT], "models": "list of string?"}],
            "by_model": [{"model": "string", "limits": [_LIMIT]}],
            "set_at_run_time": _FIGURES,
            "refused": "object: limit -> requests",
        }
    ],
}
_APPLIED_BY = {
    "workers": "integer: of the gateway, whose next request meets the change",
    "late": ["integer: a worker that has not said so in time"],
    "others": "string: of other gateways on the same store; empty: there are none",
}
QUOTA_SET = {
    "tenant": "string",
    "model": "string?",
    "before": _FIGURES,
    "after": _FIGURES,
    "applied_by": _APPLIED_BY,
}
QUOTA_RESET = {
    "tenant": "string",
    "reset": [
        {
            "counter": "string: CODE|tenant:NAME, CODE|key:ID, CODE|model:...",
            "code": "string",
            "settled": "integer: used before; now 0",
            "leased": "integer: held for requests under way",
        }
    ],
    "applied_by": _APPLIED_BY,
}
QUOTA_HISTORY = {
    "since": "string: a day",
    "until": "string: a day",
    "usage": [
        {
            "day": "string: 2026-11-27, UTC",
            "tenant": "string",
            "model": "string",
            "requests": "integer",
            "prompt_tokens": "integer",
            "completion_tokens": "integer",
            "unknown_tokens": "integer",
            "total_tokens": "integer",
        }
    ],
}
_KEY = {
    "id": "string",
    "tenant": "string",
    "name": "string",
    "shown": "string: how it begins; empty for a key of the profile",
    "origin": "string: profile, run_time",
    "state": "string: active, rotated, expired, revoked",
    "created_at": "number?: seconds since the epoch, as all of these",
    "expires_at": "number?",
    "rotated_at": "number?",
    "successor": "string?: the id",
    "revoked_at": "number?",
    "used_at": "number?: to the minute",
    "limits": _FIGURES,
}
KEYS_CREATE = {"text": "string: the key, shown once", "key": _KEY, "applied_by": _APPLIED_BY}
KEYS_LIST = {"keys": [_KEY]}
KEYS_ROTATE = {**KEYS_CREATE, "old": _KEY}
KEYS_REVOKE = {"key": _KEY, "applied_by": _APPLIED_BY}
TENANTS = {
    "tenants": [
        {
            "tenant": "string",
            "known_by": ["string: profile, run_time, key, counts"],
            "keys": "integer: that let somebody in now",
            "addresses": ["string: a network whose clients it is"],
            "models": "list of string?: it may use; null: all",
            "set_at_run_time": _FIGURES,
        }
    ]
}
WHY = {
    "request": "object: as its line in the log",
    "message": "string: of a refusal or an error of the gateway's own",
    "limits": [
        {
            "code": "string",
            "of": "string: tenant:NAME, key:ID, model:LENGTH:TENANT:MODEL",
            "limit": "integer",
            "left": "integer: once this call's part had been taken, as far as its worker knew",
            "per_s": "number?: of a rate: comes back in a second",
        }
    ],
    "attempts": [
        {
            "at_ms": "number: since the request came",
            "backend": "string",
            "failed": "string?: why it was given up; null: its answer counts",
            "candidates": [
                {
                    "backend": "string",
                    "in_flight": "integer: calls of this worker",
                    "capacity": "integer?: of this worker; null: not known",
                    "state": "string: ready, loading, down, drained, draining",
                    "breaker": "string: closed, open, half_open",
                    "chosen": "boolean",
                }
            ],
        }
    ],
    "tokens": {
        "reserved": "integer",
        "counted": "integer?: against its limits; null: nothing was taken",
        "unknown": "boolean: counted as reserved, because nobody knows",
    },
}
BACKUP = {
    "keys": "integer",
    "figures": "integer: tenants and models with limits set at run time",
    "counts": "integer: of the windows that are open",
    "usage": "integer: rows of history",
    "audit": "integer: chains of the trail",
    "file": "string",
}
RESTORE = {
    "figures": "integer",
    "keys": "integer",
    "counts": "integer",
    "usage": "integer",
    "applied_by": _APPLIED_BY,
}
VERSION = {
    "infctl": "string",
    "python": "string",
    "platform": "string",
    "parts": "object: package -> version or null",
}
_BENCH_REASON = {
    "grade": "string: suspect, invalid",
    "what": "string: cpu, core, lag, heat, schedule, rate, failures, truncated, tokens, count ...",
    "text": "string",
}
_BENCH_FIGURES = {
    "window_s": ["number: begin and end of what counts, seconds after the run began"],
    "counted": "integer: requests that count",
    "ok": "integer",
    "failed": "integer",
    "aborted": "integer: given up by us when the run was ended; they count nowhere",
    "failures": "object: outcome -> how many",
    "details": [{"outcome": "string", "said": "string", "count": "integer"}],
    "tokens_in": "integer: as the server counted, like all tokens",
    "tokens_out": "integer",
    "tokens_cached": "integer?: null where the server does not say",
    "tokens_a_piece": "number?",
    "requests_per_s": "number",
    "tokens_in_per_s": "number",
    "tokens_out_per_s": "number",
    "goodput_per_s": "number?: null without --slo",
    "good_share": "number?",
    "in_flight": "number: mean",
    "latencies_ms": "object: metric -> count, mean, deviation, min, p50 ... (null: too few values), max",
    "adjusted_ms": "object: metric -> p50 to p99.9 of all requests; null: so many were never answered",
}
BENCH_RUN = {
    "version": "integer: of this form",
    "id": "string",
    "infctl": "string: the version that measured",
    "began": "string: UTC",
    "url": "string",
    "config": "object: model, endpoint, lengths_in, lengths_out, arrivals, rate, ... seed",
    "workload_digest": "string: SHA-256 of the first bodies and times",
    "ended": "string: complete, interrupted, server_gone, overrun",
    "why": "string",
    "took_s": "number",
    "client": "object: cpu_share, lag_p99_us, lag_max_us, run_delay_share, throttled ... of the client",
    "verdict": {"grade": "string: valid, suspect, invalid", "reasons": [_BENCH_REASON]},
    "figures": _BENCH_FIGURES,
    "untrusted_figures": "object?: the same of a run that is invalid; `figures` is then null",
    "server": "object?: by vLLM, the gateway and DCGM or NVML, of the whole run: split_ms (of the mean TTFT),"
    " tokens, preemptions, cache, kv_use, running, waiting, energy; null: they say nothing",
    "definitions": "object: figure -> how it is made",
    "outcomes": "object: outcome -> what it means",
    "folder": "string: where it is kept, with requests.jsonl",
}
BENCH_REFERENCE = {
    "hardware": "string: behind the address: 4 x L4, a CPU, unknown hardware",
    "claims": [
        {
            "claim": "string",
            "claimed": "string: as the reference platform's page has it",
            "measured": "number?: on that page's hardware; null: not measured",
            "here": "number?: on the hardware that is here",
            "unit": "string: tokens/s, requests/s, ms, users",
            "verdict": "string: holds, better, short, not measured",
            "why": "string: the load, or why it was not measured",
        }
    ],
    "runs": [{"load": "string", "id": "string", "verdict": "string: of the run"}],
}
BENCH_COMPARE = {
    "verdict": "string: worse, better, same, unclear, incomparable",
    "reasons": ["string: why they cannot be compared, or what to know"],
    "margin": "number: 0.02 is 2 %",
    "level": "number: 0.95, of all intervals together",
    "pairs": "integer: 1 for two runs",
    "differences": [
        {
            "metric": "string",
            "a_ms": "number: geometric mean",
            "b_ms": "number",
            "change": "number: 0.05 is B slower by 5 %",
            "low": "number: of the interval of change",
            "high": "number",
            "effect": "number: share of all pairs of requests in which B is slower; 0.5 is none",
            "a_p95_ms": "number",
            "b_p95_ms": "number",
            "p95_change": "number: 0.05 is a p95 of B that is larger by 5 %",
            "p95_low": "number?: of its own interval, which decides nothing; null: too few requests",
            "p95_high": "number?",
            "verdict": "string: worse, better, same, unclear",
        }
    ],
}
BENCH_SWEEP = {
    "knee": "number?: the last load that was worth it; null: not reached",
    "greatest_kept": "number?: the greatest load that kept the SLOs",
    "kept_share": "number: of the requests, that it takes",
    "search": {
        "rate": "number?: the greatest that kept them; `search` is null without --search",
        "low": "number?: of the 95 % interval of the edge",
        "high": "number?: null where no greater rate was measured",
        "ended": "string: edge, none, most, client, trials",
    },
    "steps": [
        {
            "load": "number: at once, or a second",
            "id": "string: of the run",
            "verdict": "string: of the run",
            "requests_per_s": "number?: null where the run is invalid, like all below",
            "tokens_out_per_s": "number?",
            "ttft_p95_ms": "number?",
            "tpot_p50_ms": "number?",
            "e2e_p50_ms": "number?",
            "e2e_p95_ms": "number?",
            "good_share": "number?: kept every SLO; null without --slo",
            "good_low": "number?: of its 95 % interval",
            "good_high": "number?",
        }
    ],
}
BENCH_PLAN = {
    "model": "string: as the profile calls it",
    "replicas": "integer",
    "runs": ["string: ids"],
    "engine_seen": "boolean: a run looked at the engine's /metrics",
    "figures": [
        {
            "what": "string",
            "planned": "number?",
            "measured": "number?: null: not measured",
            "note": "string",
        }
    ],
    "suggestions": [
        {
            "setting": "string: its place in the profile",
            "now": "number?: null: none is set",
            "value": "number?: null: leave it",
            "evidence": "string: figures of the run",
        }
    ],
}
BENCH_REPORT = {"file": "string: the page", "runs": ["string: as they were named"]}
BENCH_LIST = {
    "runs": [
        {
            "id": "string",
            "load": "string?",
            "verdict": "string?",
            "ended": "string?",
            "ok": "integer?",
            "counted": "integer?",
            "requests_per_s": "number?: null where the run is invalid, like the two below",
            "ttft_p50_ms": "number?",
            "e2e_p50_ms": "number?",
            "error": "string: why it cannot be read",
        }
    ]
}

BY_COMMAND = {
    "init": INIT,
    "profiles": PROFILES,
    "validate": VALIDATE,
    "plan": PLAN,
    "size": SIZE,
    "render": RENDER,
    "diff": DIFF,
    "pull": PULL,
    "up": UP,
    "scale": SCALE,
    "rollback": ROLLBACK,
    "history": HISTORY,
    "status": STATUS,
    "health": HEALTH,
    "top": TOP,
    "logs": LOGS,
    "audit tail": AUDIT_RECORD,
    "audit search": AUDIT_RECORD,
    "audit verify": AUDIT_VERIFY,
    "audit export": AUDIT_EXPORT,
    "quota show": QUOTA_SHOW,
    "quota set": QUOTA_SET,
    "quota reset": QUOTA_RESET,
    "quota history": QUOTA_HISTORY,
    "keys create": KEYS_CREATE,
    "keys list": KEYS_LIST,
    "keys rotate": KEYS_ROTATE,
    "keys revoke": KEYS_REVOKE,
    "tenants": TENANTS,
    "why": WHY,
    "backup": BACKUP,
    "restore": RESTORE,
    "images": IMAGES,
    "unlock": UNLOCK,
    "doctor": DOCTOR,
    "doctor security": DOCTOR,
    "doctor logs": DOCTOR_LOGS,
    "doctor metrics": DOCTOR_METRICS,
    "restart": RESTART,
    "down": DOWN,
    "bench run": BENCH_RUN,
    "bench compare": BENCH_COMPARE,
    "bench sweep": BENCH_SWEEP,
    "bench ab": BENCH_COMPARE,
    "bench gateway": BENCH_COMPARE,
    "bench plan": BENCH_PLAN,
    "bench report": BENCH_REPORT,
    "bench list": BENCH_LIST,
    "version": VERSION,
}

VARIANTS = {"bench run": {"--reference": BENCH_REFERENCE}}
"""Command -> option -> what it answers instead."""


def keys(shape: object) -> object:
    """The bare keys of a shape or of an answer, to compare the two."""
    if isinstance(shape, dict):
        return {key: keys(value) for key, value in shape.items()}
    if isinstance(shape, list):
        return [keys(shape[0])] if shape else []
    return None
