#!/bin/sh
# Builds dist/fastdns_VERSION_ARCH.deb from what lies here: build-deb.sh [SUFFIX [ARCH]]
#
# SUFFIX makes a higher version of it (+test1), with which an upgrade can be tried. ARCH is the Debian
# architecture that it is for; another one than this machine's takes a cross compiler and that
# architecture's libraries (elsewhere.py has both in a tree of its own).
set -eu
cd "$(dirname "$0")/.."

suffix=${1-}
own=$(dpkg --print-architecture)
arch=${2:-$own}
tree=build/deb/fastdns
rm -rf build/deb
mkdir -p "$tree" dist

# What git tracks or does not ignore: never what an earlier build has left.
git ls-files -z --cached --others --exclude-standard |
    tar --null --files-from=- --ignore-failed-read -cf - | tar -C "$tree" -xf -
mv "$tree/packaging/debian" "$tree/debian"
cd "$tree"

version=$(dpkg-parsechangelog -S Version)
ours=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fastdns/__init__.py)
if [ "$version" != "$ours" ]; then
    echo "packaging/debian/changelog: its newest version is $version; fastdns/__init__.py says $ours (make them agree)" >&2
    exit 1
fi
if [ -n "$suffix" ]; then
    {
        printf 'fastdns (%s) unstable; urgency=medium\n\n  * To try an upgrade with.\n\n' "$version$suffix"
        printf ' -- %s  %s\n\n' "$(dpkg-parsechangelog -S Maintainer)" "$(dpkg-parsechangelog -S Date)"
        cat debian/changelog
    } >debian/changelog.new
    mv debian/changelog.new debian/changelog
fi

options=
# What a build needs is there of this machine's architecture, which is what runs; dpkg would look for it
# in the other one.
[ "$arch" = "$own" ] || options="--host-arch=$arch --no-check-builddeps"
log=../build.log
echo "building takes about a minute; progress: build/deb/build.log"
# Of Debian's programs alone: whoever builds may have another Python in front of them.
if ! env -u PYTHONPATH -u PYTHONHOME PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    dpkg-buildpackage -b -us -uc $options >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "the whole log: build/deb/build.log" >&2
    exit 1
fi
cd ../../..
for package in build/deb/fastdns_*.deb; do
    cp "$package" dist/
    echo "dist/${package##*/}"
done
