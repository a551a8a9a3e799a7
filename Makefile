# make up    a whole platform on this machine's CPU
# make test  everything that can be checked without a GPU
#
# Needs Python >= 3.11, make and a Python package index. Everything lands in .venv and ~/.cache/infctl.

# PyTorch's public index of CPU builds; asked only for torch, and only if pip does not find it elsewhere.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# The Python to use; found by scripts/python.sh if empty.
PYTHON ?=
PROFILE ?= profiles/local.yaml

BIN := .venv/bin
STAMP := .venv/.stamp
export TORCH_INDEX

PROOFS := proof-properties proof-compose proof-kv-blocks proof-rolling proof-abort proof-fuzz proof-restarts proof-workers proof-soak proof-leases proof-audit proof-quota proof-crash proof-aborted proof-counts proof-alerts proof-panels proof-compare proof-search proof-report proof-same-server proof-compiled

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up down test check format golden lock image wheel bench-gateway proofs $(PROOFS) setup setup-dev setup-local clean screenshot screenshot-record bench-gateway-peers bench-gateway-profile bench-gateway-cost bench-limits bench-generator bench-generator-peers
# One step at a time: pip runs in one environment.
.NOTPARALLEL:

help:
	@echo "make up                set up .venv, start $(PROFILE), wait until it answers"
	@echo "make down              stop it"
	@echo "make test              set up everything and run the whole suite"
	@echo "make check             formatting, lint, types, import rules"
	@echo "make format            format, and fix what lint can fix"
	@echo "make golden            render every profile anew into tests/golden/render, and show what changed"
	@echo "make screenshot        draw the README's picture of infctl status --watch; screenshot-record: of PROFILE as it runs"
	@echo "make lock              resolve the dependencies again (needs uv)"
	@echo "make image             build the gateway's image, infctl/gateway"
	@echo "make wheel             build dist/*.whl and dist/*.tar.gz"
	@echo "make bench-gateway     the gateway beside nginx, vllm-router, smg and litellm (make bench-gateway-peers first)"
	@echo "make bench-gateway-profile  where its time goes; bench-gateway-cost: its cost a request beside nginx's"
	@echo "make bench-limits      what admitting and settling a request costs, in microseconds of CPU"
	@echo "make bench-generator   what infctl bench keeps up with on one core, guidellm and aiperf beside it (bench-generator-peers first)"
	@echo "make proof-properties  every property test with 20 times the examples of a usual run (PROOF=20)"
	@echo "make proof-compose     500 random profiles render and are taken by Compose, or are refused with the reason"
	@echo "make proof-kv-blocks   six real starts of vLLM: planned and reported KV blocks are equal"
	@echo "make proof-rolling     100 replaces of an engine, 20 of the gateway, 4 of vLLM: no request lost"
	@echo "make proof-abort       1,000 clients leave in each phase of a request, plain and streaming: seen within 1 s"
	@echo "make proof-fuzz        a million random changes of valid requests: no crash, no hang, no 5xx, memory flat"
	@echo "make proof-compiled    the gateway's tests on the gateway as its image has it, compiled (needs gcc)"
	@echo "make proof-restarts    100 restarts of the gateway and 100 of a backend, as processes: no request lost"
	@echo "make proof-workers     20 workers of a gateway are killed under load: only their own clients notice, back in 1 s"
	@echo "make proof-soak        an hour of everything at once (SECONDS=3600): memory and descriptors flat, no task left"
	@echo "make proof-quota       64 clients against 4 workers on SQLite and 3 gateways on Redis: never over, equal to the token"
	@echo "make proof-aborted     1,000 streams left at random chunks: what was read is what is counted"
	@echo "make proof-counts      10,000 mixed requests: metrics, log, audit trail and their sender count the same"
	@echo "make proof-alerts      faults in a real gateway, Prometheus and Alertmanager: told in time, alone, and over; every panel has data"
	@echo "make proof-panels      a real Prometheus reads real vLLM on the CPU: every panel has data"
	@echo "make proof-crash       500 times kill -9 under load, and a Redis that is hurt: never over, nothing forgotten"
	@echo "make proof-compare     100 comparisons in virtual time and 5 real pairs: same is same, 5 % slower is found"
	@echo "make proof-search      100 searches of a rate in virtual time and a real one: the interval holds the answer"
	@echo "make proof-report      the HTML report in headless Chromium: no console message, no request (needs chromium)"
	@echo "make proof-same-server  infctl bench, vllm bench serve and guidellm in turns against real vLLM: they say the same"
	@echo "make proof-leases      quotas of four workers on SQLite and Redis, each killed 100 times: never over, equal to the token"
	@echo "make proof-audit       100 times two writers of an audit trail killed, 2,000 bytes changed or tails cut: all told rightly"
	@echo "make proofs            all of these, one after the other"
	@echo "make setup             .venv with the CLI; setup-dev adds the tests, setup-local vLLM for the CPU"
	@echo "make clean             remove .venv, builds and caches (a running platform: make down first)"

up: setup-local
	@$(BIN)/infctl up -f $(PROFILE) -y

down: setup
	@$(BIN)/infctl down -f $(PROFILE) -y

test: setup-dev setup-local
	@$(BIN)/python scripts/test.py $(ARGS)

check: setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

golden: setup-dev
	@INFCTL_REFRESH_GOLDEN=1 $(BIN)/python -m pytest -q -p no:cacheprovider tests/infctl/render/test_golden.py
	@git --no-pager diff --stat -- tests/golden/render
	@git ls-files --others --exclude-standard -- tests/golden/render | sed 's/^/ new: /'

screenshot: setup
	@$(BIN)/python scripts/screenshot.py

screenshot-record: setup
	@$(BIN)/python scripts/screenshot.py --record $(PROFILE)

lock: setup-dev
	@$(BIN)/python scripts/lock.py

# IMAGE_ARGS="--build-arg BASE=..." for another base than python:3.12-slim.
image: setup
	@$(BIN)/python scripts/image.py $(IMAGE_ARGS)

wheel: setup-dev
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

bench-gateway: setup-dev
	@$(BIN)/python bench/gateway/run.py $(ARGS)

bench-gateway-peers: setup-dev
	@$(BIN)/python bench/gateway/peers.py $(ARGS)

bench-gateway-profile: setup-dev
	@$(BIN)/python bench/gateway/peers.py py-spy
	@$(BIN)/python bench/gateway/flame.py $(ARGS)

bench-gateway-cost: setup-dev
	@$(BIN)/python bench/gateway_cost/run.py $(ARGS)

# All, also when one falls short; its exit code is then not 0. `make proofs PROOFS="proof-compose proof-rolling"`: some.
proofs:
	@short=; for proof in $(PROOFS); do echo "--- $$proof"; $(MAKE) --no-print-directory $$proof || short="$$short $$proof"; done; \
	  if [ -n "$$short" ]; then echo "short:$$short"; exit 1; fi; echo "none short of: $(PROOFS)"

PROOF ?= 20
proof-properties: setup-dev
	@INFCTL_PROOF=$(PROOF) $(BIN)/python -m pytest -q -n 2 --timeout 1800 \
	  $$(grep -rl --include='test_*.py' 'import examples' tests) $(ARGS)

proof-compose: setup-dev
	@$(BIN)/python -m tests.conformance.compose_proof $(ARGS)

proof-kv-blocks: setup-dev setup-local
	@$(BIN)/python -m pytest -v tests/e2e/proof_kv_blocks.py $(ARGS)

proof-rolling: setup-dev setup-local
	@$(BIN)/python -m tests.e2e.proof_rolling $(ARGS)

proof-abort: setup-dev
	@$(BIN)/python -m tests.hazards.proof_abort $(ARGS)

# ARGS="--seed 1 --block 4711": one connection of it again.
proof-compiled: setup-dev
	@$(BIN)/python -m tests.proofs.compiled $(ARGS)

proof-fuzz: setup-dev
	@$(BIN)/python -m tests.proofs.fuzz $(ARGS)

proof-restarts: setup-dev
	@$(BIN)/python -m tests.proofs.restarts $(ARGS)

proof-workers: setup-dev
	@$(BIN)/python -m tests.proofs.workers $(ARGS)

SECONDS ?= 3600
proof-soak: setup-dev
	@$(BIN)/python -m tests.proofs.soak --seconds $(SECONDS) $(ARGS)

# KILLS=100: of workers, on each store. Needs redis-server.
KILLS ?= 100
proof-audit: setup-dev
	@$(BIN)/python -m tests.gateway.audit.proof_trail $(ARGS)

proof-leases: setup-dev
	@$(BIN)/python -m tests.gateway.store.proof_leases $(KILLS)

proof-quota: setup-dev
	@$(BIN)/python -m tests.proofs.quota $(ARGS)

proof-aborted: setup-dev
	@$(BIN)/python -m tests.proofs.aborted $(ARGS)

proof-counts: setup-dev
	@$(BIN)/python -m tests.proofs.counts $(ARGS)

# SCALE=0.1: of every duration in the rules. Needs prometheus and prometheus-alertmanager.
SCALE ?= 0.1
proof-alerts: setup-dev setup-local
	@$(BIN)/python -m tests.proofs.alerts --scale $(SCALE) $(ARGS)

proof-panels: setup-dev setup-local
	@$(BIN)/python -m tests.proofs.real_panels

proof-crash: setup-dev
	@$(BIN)/python -m tests.proofs.crash $(ARGS)

proof-compare: setup-dev
	@$(BIN)/python -m tests.infctl.bench.proof_compare $(ARGS)

proof-search: setup-dev
	@$(BIN)/python -m tests.infctl.bench.proof_search $(ARGS)

proof-report: setup-dev
	@$(BIN)/python -m tests.infctl.bench.proof_report $(ARGS)

# Needs a quiet machine of two cores: about 12 minutes.
proof-same-server: setup-dev setup-local
	@$(BIN)/python -m tests.e2e.proof_same_server $(ARGS)

bench-generator: setup-dev
	@$(BIN)/python bench/generator/run.py $(ARGS)

bench-generator-peers: setup-dev
	@$(BIN)/python bench/generator/others.py

bench-limits: setup-dev
	@$(BIN)/python bench/limits/run.py $(ARGS)

# A stamp is written last, so an interrupted step is simply done again.
setup: $(STAMP)-base
setup-dev: $(STAMP)-dev
setup-local: $(STAMP)-local

$(STAMP)-venv:
	@python=$$(scripts/python.sh $(PYTHON)) && \
	  if ! { scripts/python.sh .venv/bin/python && .venv/bin/python -m pip --version; } >/dev/null 2>&1; then \
	    echo "setup: .venv with $$($$python --version)"; $$python -m venv --clear .venv; fi
	@touch $@

$(STAMP)-base: requirements/base.txt pyproject.toml | $(STAMP)-venv
	@scripts/install.sh base
	@touch $@

$(STAMP)-dev: requirements/dev.txt | $(STAMP)-base
	@scripts/install.sh dev
	@touch $@

$(STAMP)-local: requirements/torch-cpu.txt requirements/local.txt | $(STAMP)-base
	@scripts/install.sh local
	@touch $@

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
