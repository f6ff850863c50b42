#!/bin/sh
# Makes dist/repository, which apt installs from: repository.sh URL [KEY]
#
# It takes the packages of dist/, which are for this machine's Debian, and of dist/SUITE/. URL is where
# you will serve the directory; any web server can. KEY names the gpg key that signs (as for gpg -u).
# Without it a key is made once, outside of the checkout, and used again.
set -eu
cd "$(dirname "$0")/.."

url=${1-}
key=${2-}
made=${XDG_DATA_HOME:-$HOME/.local/share}/fastdns/repository-key.asc
final=dist/repository
new=$final.new

fail() { echo "make repository: $*" >&2 && exit 1; }

case $url in
http://?* | https://?* | file:/?*) url=${url%/} ;;
*) fail "URL says where you will serve it: make repository URL=https://apt.example.net" ;;
esac
case $url in *[!A-Za-z0-9:/._~%+@-]*) fail "$url is no URL that apt takes" ;; esac

# --- the packages ---------------------------------------------------------------------------------

home=
clean_up() {
    [ -z "$home" ] || { gpgconf --kill gpg-agent && rm -rf "$home"; }
    rm -rf "$new"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -rf "$new"
mkdir -p "$new/pool"
here=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
for package in dist/fastdns_*.deb dist/*/fastdns_*.deb; do
    [ -f "$package" ] || continue
    suite=$(basename "$(dirname "$package")")
    case $suite in dist) suite=$here ;; repository*) continue ;; esac
    mkdir -p "$new/pool/$suite"
    cp "$package" "$new/pool/$suite/"
done
suites=$(ls "$new/pool")
[ -n "$suites" ] || fail "there is no package in dist/: make deb"

# --- the key --------------------------------------------------------------------------------------

# The key that is made is a file, so that a copy is easily kept; gpg gets it in a short-lived directory,
# whose name is short as well: the path of its agent's socket must be.
if [ -z "$key" ]; then
    home=$(mktemp -d)
    export GNUPGHOME="$home"
    if [ ! -e "$made" ]; then
        mkdir -p "${made%/*}"
        gpg --batch --quiet --pinentry-mode loopback --passphrase '' \
            --quick-generate-key "fastdns packages" ed25519 sign never 2>/dev/null &&
            (umask 077 && gpg --batch --armor --export-secret-keys >"$made.new" && mv "$made.new" "$made") ||
            fail "gpg could not make a key"
        echo "made a key that signs the packages: $made"
        echo "  Keep it to yourself and keep a copy: its owner can sign packages, and if it is lost all machines need a new key."
    else
        gpg --batch --quiet --import "$made" 2>/dev/null || fail "gpg cannot read the key in $made"
    fi
fi
fingerprint=$(gpg --batch --with-colons --list-secret-keys ${key:+"$key"} 2>/dev/null |
    sed -n '/^fpr:/{s/^fpr:*\([0-9A-F]*\):.*/\1/p;q}')
[ -n "$fingerprint" ] || fail "gpg has no secret key $key"
sign() { gpg --batch --quiet --yes --local-user "$fingerprint" --digest-algo SHA256 "$@"; }

# --- the index ------------------------------------------------------------------------------------

gpg --batch --export "$fingerprint" >"$new/fastdns.gpg"
gpg --batch --armor --export "$fingerprint" >"$new/fastdns.asc"
for suite in $suites; do
    architectures=$(ls "$new/pool/$suite" | sed -n 's/.*_\([a-z0-9]*\)\.deb$/\1/p' | sort -u | tr '\n' ' ')
    architectures=${architectures% }
    (
        cd "$new"
        for arch in $architectures; do
            index=dists/$suite/main/binary-$arch
            mkdir -p "$index"
            apt-ftparchive --arch "$arch" packages "pool/$suite" >"$index/Packages"
            gzip -9nk "$index/Packages"
        done
        # Written beside it first, or it would list itself.
        apt-ftparchive -o APT::FTPArchive::Release::Origin=fastdns \
            -o APT::FTPArchive::Release::Label=fastdns \
            -o APT::FTPArchive::Release::Suite="$suite" \
            -o APT::FTPArchive::Release::Codename="$suite" \
            -o APT::FTPArchive::Release::Architectures="$architectures" \
            -o APT::FTPArchive::Release::Components=main \
            release "dists/$suite" >Release
        mv Release "dists/$suite/"
    )
    sign --armor --detach-sign --output "$new/dists/$suite/Release.gpg" "$new/dists/$suite/Release"
    sign --clearsign --output "$new/dists/$suite/InRelease" "$new/dists/$suite/Release"
    # With the key in it: one file is all that a machine needs.
    {
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$url" "$suite"
        printf 'Architectures: %s\nSigned-By:\n' "$architectures"
        sed 's/^$/./; s/^/ /' "$new/fastdns.asc"
    } >"$new/$suite.sources"
    echo "$suite: $(ls "$new/pool/$suite" | tr '\n' ' ')"
done

# --- how to install from it -----------------------------------------------------------------------

sources=/etc/apt/sources.list.d/fastdns.sources
install=". /etc/os-release && sudo wget -nv -O $sources $url/\$VERSION_CODENAME.sources && sudo apt update && sudo apt install fastdns"
cat >"$new/README.txt" <<END
Packages of fastdns, a caching DNS forwarder, for Debian: $(echo $suites)

These packages are for: $(echo $suites). Other Debians need packages of their own.

Install with one line (wget fetches the address and the key; apt checks every package with it):

    $install

From then on, apt upgrades fastdns with everything else. To take the address away again:

    sudo rm $sources

The packages are signed by the key $fingerprint
It is in fastdns.asc and, for Signed-By, in fastdns.gpg.
END
{
    printf '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Packages of fastdns</title>\n<pre>\n'
    sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' "$new/README.txt"
    printf '</pre>\n</html>\n'
} >"$new/index.html"

rm -rf "$final"
mv "$new" "$final"
echo "$final is ready: serve it at $url. To install from there:"
echo "    $install"
