#!/bin/sh
# Sets up .venv: venv.sh make PYTHON [system|pypi]; venv.sh libraries; venv.sh tools
#
# `make` makes it anew where there is none that runs, or when another Python or other libraries are
# asked for; without the last word, which is nobody's choice, a .venv that runs is kept as it is.
# `system` has it use the libraries of the machine, and nothing is downloaded; `pypi` has it get its own.
# `libraries` puts there what fastdns runs on and is compiled with, and the command; `tools` what
# tests and checks take beyond that.
set -eu

venv=.venv/bin/python
say() { echo "fastdns: $*" >&2; }
of_system() { grep -q ' system$' .venv/.python 2>/dev/null; }

make_venv() {
    python=$1 libraries=${2-}
    which='
import sys
print("%d.%d.%d %s" % (sys.version_info[:3] + (getattr(sys, "base_prefix", sys.prefix),)))
sys.exit(sys.version_info < (3, 11))'
    there=
    if found=$("$venv" -c "$which" 2>/dev/null); then
        there=$(cat .venv/.python 2>/dev/null || echo "$found")
        # The Python below it may be another one by now.
        [ "${there% system}" = "$found" ] || there=
        [ -z "$there" ] || [ -n "$libraries" ] || exit 0
    fi

    task=dev
    [ "$libraries" != system ] || task=system
    # Before anything else is said about a Python: without one apt may bring it.
    command -v "$python" >/dev/null || PYTHON=$python sh packaging/apt-packages.sh "$task"
    if ! wanted=$("$python" -c "$which" 2>/dev/null); then
        wanted=${wanted:-not there}
        say "needs Python 3.11 or newer; $python is ${wanted%% /*} (choose one: make dev PYTHON=python3.12)"
        exit 1
    fi
    [ "$task" = dev ] || wanted="$wanted system"
    [ "$wanted" != "$there" ] || exit 0

    PYTHON=$python sh packaging/apt-packages.sh "$task"
    say "making .venv with Python ${wanted%% *} of $(echo "$wanted" | sed 's/^[^ ]* //; s/ system$/, with its libraries/')"
    rm -rf .venv build/lib.* # what another Cython has made of it
    if [ "$task" = system ]; then
        "$python" -m venv --system-site-packages --without-pip .venv
    else
        "$python" -m venv .venv
    fi
    echo "$wanted" >.venv/.python
}

# A list of pyproject.toml's, one a line.
listed() {
    "$venv" -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*p["dependencies"] if sys.argv[1] == "run" else p["optional-dependencies"][sys.argv[1]], sep="\n")' "$1"
}

pip() {
    # A firewall that drops packets is waited for often enough.
    PIP_RETRIES=${PIP_RETRIES:-1} "$venv" -m pip --quiet --disable-pip-version-check install \
        --no-compile --upgrade "$@" >.venv/pip.log 2>&1 || {
        say "pip cannot get the libraries from PyPI (see .venv/pip.log);" \
            "to use those of this machine, without PyPI: make run SYSTEM=1"
        exit 1
    }
}

# What imports fastdns finds the checkout, and the command is there: no installation, nothing to build.
link() {
    site=$("$venv" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    rm -rf "$site"/__editable__*fastdns* "$site"/fastdns-*.dist-info
    pwd >"$site/fastdns.pth"
    # Like pip's: a path may be too long for a first line, or have blanks.
    cat >.venv/bin/fastdns <<EOF
#!/bin/sh
'''exec' "$PWD/$venv" "\$0" "\$@"
' '''
import sys

from fastdns.cli import main

sys.exit(main())
EOF
    chmod 755 .venv/bin/fastdns
}

task=$1
shift
case $task in
make) make_venv "$@" ;;
libraries)
    if ! of_system; then
        say "getting libraries from PyPI"
        listed run >.venv/wanted.txt
        pip "cython>=3" "setuptools>=70.1" --requirement .venv/wanted.txt
    fi
    link
    ;;
tools)
    if ! of_system; then
        say "getting tools for tests and checks from PyPI"
        listed dev >.venv/wanted.txt
        pip --requirement .venv/wanted.txt
    fi
    ;;
esac
