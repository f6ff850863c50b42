"""Builds the package for another architecture or Debian: `make deb ARCH=arm64 SUITE=trixie`.

It is built in a bare Debian in build/story, which has the compilers for it. Nothing is installed on
this machine, and no emulator is needed: the compilers run on this machine's processor.
"""

import argparse
import os
import re
import shutil
from pathlib import Path

from tell import Wrong, quote, run
from tree import BUILD, ROOT, VERSIONS, bare, copy, inside, remove

ARCHITECTURES = ("amd64", "arm64", "armhf")
# Of the other architecture; all else that a build needs runs, and so is of this machine's.
LIBRARIES = ("libpython3-dev", "liblmdb-dev", "libnghttp2-dev", "libssl-dev")
INSTALL = ("apt-get", "-q", "-y", "--no-install-recommends", "install")


def architecture() -> str:
    """Return what Debian calls this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).stdout.strip()


def suite_here() -> str:
    """Return the name of this machine's Debian; nothing where it is another system."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.M))
    return release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""


def built_elsewhere(suite: str, arch: str, suffix: str = "") -> list[Path]:
    """Return the packages as a tree of this suite builds them.

    The tree is kept: what a build needs is installed in it only once.
    """
    tree = BUILD / f"{suite}-build"
    if not tree.exists():
        making = copy(bare(suite), f"{suite}-build.new")
        inside(making, ["apt-get", "-q", "update"])
        inside(making, [*INSTALL, "git", "make"])
        making.rename(tree)
    source = tree / "srv/fastdns"
    remove(source)
    source.mkdir()
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    for name in run([*listed, "--exclude-standard"]).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    inside(tree, ["git", "init", "-q", "/srv/fastdns"])
    there = 'cd /srv/fastdns; exec sh packaging/"$@"'
    # First what runs, of this machine's architecture: libraries of one hide that the other's lack.
    inside(tree, ["sh", "-ec", there, "sh", "apt-packages.sh", "deb"])
    if arch != architecture():
        prepare(tree, arch)
    build = ["sh", "-ec", there, "sh", "build-deb.sh", suffix, arch]
    said = inside(tree, build, patience=1800)
    found = re.findall(r"^dist/fastdns_.*\.deb$", said, re.M)
    if not found:
        raise Wrong("the build names no package", said)
    return [source / name for name in found]


def prepare(tree: Path, arch: str) -> None:
    """Have the tree compile for another architecture."""
    if arch not in inside(tree, ["dpkg", "--print-foreign-architectures"]).split():
        inside(tree, ["dpkg", "--add-architecture", arch])
        inside(tree, ["apt-get", "-q", "update"])
    libraries = (f"{name}:{arch}" for name in LIBRARIES)
    inside(tree, [*INSTALL, f"crossbuild-essential-{arch}", *libraries])


def main() -> None:
    parser = argparse.ArgumentParser(prog="make deb", description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", choices=ARCHITECTURES, default=architecture())
    parser.add_argument("--suite", choices=list(VERSIONS), default=suite_here() or "bookworm")
    parser.add_argument("--suffix", default="")
    chosen = parser.parse_args()
    if os.geteuid():
        raise SystemExit("make deb: for another architecture or Debian it needs root, for chroot")
    print(f"building in a bare Debian {VERSIONS[chosen.suite]}; it takes some minutes", flush=True)
    # One directory for each Debian: a package of the same name holds other files there.
    place = ROOT / "dist" / ("" if chosen.suite == suite_here() else chosen.suite)
    place.mkdir(parents=True, exist_ok=True)
    for package in built_elsewhere(chosen.suite, chosen.arch, chosen.suffix):
        print(Path(shutil.copy(package, place)).relative_to(ROOT))


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        print(f"make deb: {error}", flush=True)
        quote(error.output)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
