#!/bin/sh
# Makes sure that .venv is there and runs: venv.sh PYTHON [any]
#
# A .venv of another Python than PYTHON is made anew; with `any` (PYTHON was nobody's choice but the
# Makefile's) one of any Python that will do is kept.
set -eu

python=$1
which='
import sys
print("%d.%d.%d %s" % (sys.version_info[:3] + (getattr(sys, "base_prefix", sys.prefix),)))
sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

if there=$(.venv/bin/python -c "$which" 2>/dev/null) &&
    [ "$there" = "$(cat .venv/.python 2>/dev/null || echo "$there")" ]; then
    [ "${2-}" != any ] || exit 0
else
    there=
fi

if ! command -v "$python" >/dev/null && [ "$python" = python3 ]; then
    sh packaging/apt-packages.sh dev
fi
if ! wanted=$("$python" -c "$which" 2>/dev/null); then
    wanted=${wanted:-not there}
    echo "fastdns: needs Python 3.11, 3.12 or 3.13; $python is ${wanted%% /*} (choose one: make dev PYTHON=python3.12)" >&2
    exit 1
fi
[ "$wanted" != "$there" ] || exit 0

PYTHON=$python sh packaging/apt-packages.sh dev
echo "fastdns: making .venv with Python $wanted"
rm -rf .venv
"$python" -m venv .venv
echo "$wanted" >.venv/.python
