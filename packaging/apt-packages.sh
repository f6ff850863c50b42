#!/bin/sh
# Makes sure that what a task needs from Debian is there: apt-packages.sh make|python|dev|system|test|bench|peers|deb|repository …
#
# What is needed is tried first (a command, a header, a Python module), so a machine that has it,
# from wherever, never comes to apt. PYTHON names the interpreter that `dev` is about.
set -eu

# Daemons live in sbin, which a plain user's PATH lacks.
PATH=$PATH:/usr/sbin:/sbin
POLICY=/usr/sbin/policy-rc.d
MARK='# Left by fastdns packaging/apt-packages.sh; it may be deleted.'

say() { echo "fastdns: $*" >&2; }

# --- the part that runs as root -------------------------------------------------------------------

# Debian starts a daemon as it installs it. We want the programs of nsd, unbound and others, not a
# name server on port 53, so for the time of the installation a policy says no. One that the owner has
# put there stays.
forbid_services() {
    if [ -f "$POLICY" ] && grep -qxF "$MARK" "$POLICY"; then
        rm -f "$POLICY" # of a run that was killed; the lock says that no other one is under way
    fi
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if (set -C && printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >"$POLICY") 2>/dev/null; then
        trap 'rm -f "$POLICY"' EXIT
        chmod 755 "$POLICY"
    fi
}

install() {
    exec 9>/run/fastdns-apt-packages.lock
    flock 9
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    get="apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install"
    # Lists that are missing or too old show in a failure: only then are they fetched.
    if ! $get "$@" </dev/null >"$log" 2>&1; then
        say "refreshing apt's package lists"
        apt-get -q update </dev/null >"$log" 2>&1 || say "apt-get update failed: $(tail -n 1 "$log")"
        if ! $get "$@" </dev/null >"$log" 2>&1; then
            cat "$log" >&2
            rm -f "$log"
            say "apt-get could not install: $*"
            exit 1
        fi
    fi
    rm -f "$log"
    # Nor shall they start at the next boot.
    for package; do
        case $package in
        nsd | unbound | dnsdist | pdns-recursor | smartdns) disable "$package.service" ;;
        knot-resolver) disable kresd@1.service && disable kres-cache-gc.service && disable kresd.target ;;
        esac
    done
}

disable() { ! command -v systemctl >/dev/null || systemctl --quiet disable "$1" >/dev/null 2>&1 || :; }

if [ "${1-}" = --install ]; then
    shift
    install "$@"
    exit
fi

# --- what is missing ------------------------------------------------------------------------------

packages=
missing() { case " $packages " in *" $1 "*) ;; *) packages="$packages${packages:+ }$1" ;; esac; }
need_command() { command -v "$1" >/dev/null || missing "$2"; }

need_interpreter() {
    command -v "$1" >/dev/null && return
    case $1 in
    python3 | /usr/bin/python3) missing python3 ;;
    *) say "there is no $1 on this machine" && exit 1 ;;
    esac
    return 1
}

need_header() {
    command -v gcc >/dev/null && echo "#include <$1>" | gcc -E -o /dev/null - 2>/dev/null || missing "$2"
}

need_compiler() {
    need_command gcc gcc
    need_header stdlib.h libc6-dev
    need_header lmdb.h liblmdb-dev
    need_header nghttp2/nghttp2.h libnghttp2-dev
    need_header openssl/ssl.h libssl-dev
}

# Debian splits Python: venv and the headers come in packages of their own. Any other Python has
# both or has to be mended by whoever made it.
need_python() {
    python=${PYTHON:-python3}
    if ! need_interpreter "$python"; then
        missing python3-venv && missing python3-dev
        return
    fi
    found=$("$python" -c '
import os, sys, sysconfig
print("%s python%d.%d" % ((sys.base_prefix,) + sys.version_info[:2]))
try:
    import venv, ensurepip
except ImportError:
    print("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("dev")')
    set -- $found
    prefix=$1 name=$2
    shift 2
    [ $# = 0 ] || [ "$prefix" = /usr ] || {
        say "$python (in $prefix) comes without: $* (the module ensurepip, or Python.h); choose another with PYTHON=…"
        exit 1
    }
    for part; do missing "$name-$part"; done
}

# fastdns as Debian compiles and runs it: its Python, its Cython, its libraries.
need_system() { # need_system [MODULE:PACKAGE …]
    python=${PYTHON:-/usr/bin/python3}
    pairs="attr:attr click:click dnslib:dnslib dns:dnspython gevent:gevent h11:h11 lmdb:lmdb \
        rich:rich setproctitle:setproctitle setuptools:setuptools $*"
    if ! need_interpreter "$python"; then
        missing python3-dev && missing cython3
        for pair in $pairs; do missing "python3-${pair#*:}"; done
        return
    fi
    found=$("$python" - $pairs Cython: <<'EOF'
import importlib.util, os, sys, sysconfig
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("python3-dev")
for module, package in (pair.split(":") for pair in sys.argv[1:]):
    if importlib.util.find_spec(module) is None:
        print(f"python3-{package}" if package else "cython3")
EOF
    )
    for package in $found; do missing "$package"; done
}

look() {
    for task; do
        case $task in
        make) need_command make make ;;
        python) need_interpreter "${PYTHON:-python3}" || : ;;
        dev) need_compiler && need_python ;;
        test)
            [ -z "$is_system" ] || need_system h2:h2 pytest:pytest xdist:pytest-xdist
            look repository
            need_command dnsmasq dnsmasq-base # the program without the service
            need_command nsd nsd
            need_command unbound unbound
            need_command dig bind9-dnsutils
            need_command kdig knot-dnsutils
            need_command man man-db
            need_command ip iproute2
            ;;
        bench)
            need_command nsd nsd
            need_command openssl openssl
            need_header openssl/ssl.h libssl-dev
            need_header nghttp2/nghttp2.h libnghttp2-dev
            ;;
        peers) # what `make bench` can set fastdns beside
            need_command dnsdist dnsdist
            need_command dnsmasq dnsmasq-base # the program without the service
            need_command kresd knot-resolver
            need_command pdns_recursor pdns-recursor
            need_command smartdns smartdns
            need_command unbound unbound
            ;;
        system) need_compiler && need_system ;;
        deb) # the package: what its own control file says that a build needs
            need_command git git
            need_command dpkg-buildpackage dpkg-dev
            wanted=$(sed -n '/^Build-Depends:/,/^[^ ]*:/{s/^ \([^, ]*\).*/\1/p}' packaging/debian/control)
            for package in build-essential $wanted; do
                # A virtual package is there by the one that provides it.
                dpkg-query -W -f '${Status} ${Package} ${Provides}\n' 2>/dev/null |
                    grep -q " installed.*[ ,]$package\([ ,]\|\$\)" || missing "$package"
            done
            ;;
        repository) # its index, and the signature
            need_command apt-ftparchive apt-utils
            need_command gpg gnupg
            ;;
        elsewhere) # the package for another architecture or Debian, in a tree of its own
            need_command dpkg dpkg
            need_command git git
            need_command debootstrap debootstrap
            # Elsewhere than on a Debian, debootstrap would believe any mirror without these.
            [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing debian-archive-keyring
            ;;
        story) # what `make test-deb` does from outside of its boxes
            need_command debootstrap debootstrap
            need_command dig bind9-dnsutils
            need_command ip iproute2
            need_command nsd nsd
            ;;
        *)
            say "no such task: $task"
            exit 2
            ;;
        esac
    done
}

case " $* " in *" system "*) is_system=1 ;; *) is_system= ;; esac
look "$@"
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
    say "these Debian packages are missing: $packages"
elif [ "$(id -u)" = 0 ]; then
    say "installing from Debian: $packages"
    exec sh "$0" --install $packages
elif sudo -n true 2>/dev/null; then
    say "installing from Debian with sudo: $packages"
    exec sudo -n sh "$0" --install $packages
else
    say "these packages are missing:"
    echo "    sudo apt install $packages" >&2
    here=$packages
    case " $* " in *" system "*) look system test deb ;; *) look dev test deb ;; esac
    if [ "$packages" != "$here" ]; then
        say "or, including the packages for make test and make deb:"
        echo "    sudo apt install $packages" >&2
        services=
        for package in $packages; do
            case $package in nsd | unbound) services="$services $package" ;; esac
        done
        [ -z "$services" ] ||
            echo "    sudo systemctl disable --now$services   # only the programs are used" >&2
    fi
fi
exit 1
