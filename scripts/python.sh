#!/bin/sh
# Prints the Python to use: 3.11 first, on which everything is tried; then any other that torch is locked for.
# Given a path, checks that one. Says what was found when none will do.
set -eu
lock=$(dirname "$0")/../requirements/torch-cpu.txt
locked=$(sed -n 's/^torch==.*python_version == "\([0-9.]*\)".*/\1/p' "$lock" | tr '\n' ' ')

# Answers its version, or nothing when it cannot run (a shim, say) or cannot make a virtual environment.
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

found=
for python in "${1:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$python" ] || continue
    has=$(version "$python")
    if [ -z "$has" ]; then continue; fi
    found="$found $python ($has)"
    case " $locked" in
        *" $has "*)
            if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
                command -v "$python"
                exit 0
            fi
            found="$found without venv,"
            ;;
    esac
    [ -z "${1:-}" ] || break
done
{
    echo "error: no Python that this needs: one of ${locked}with its venv module"
    echo "  found:${found:- none}"
    echo "  install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python"
} >&2
exit 1
