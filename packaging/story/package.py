"""The package under test: built by `make deb`, here or in a tree of its suite; higher versions."""

import re
import shutil
from pathlib import Path

from tell import Wrong, run
from tree import BUILD, ROOT, bare, copy, inside, remove


def runs_here(suite: str) -> bool:
    release = Path("/etc/os-release").read_text()
    return f"VERSION_CODENAME={suite}\n" in release and "ID=debian\n" in release


def built(suite: str, place: Path) -> Path:
    """Return the package as this suite builds it, copied to `place`."""
    if runs_here(suite):
        where, said = ROOT, run(["make", "-C", str(ROOT), "deb"], patience=900).stdout
    else:
        where, said = built_inside(suite)
    found = re.findall(r"^dist/fastdns_.*\.deb$", said, re.M)
    if not found:
        raise Wrong("make deb names no package", said)
    return Path(shutil.copy(where / found[-1], place))


def built_inside(suite: str) -> tuple[Path, str]:
    """Return where in a tree of this suite the package was built, and what was said of it.

    The tree is kept: what a build needs is installed in it only once.
    """
    tree = BUILD / f"{suite}-build"
    if not tree.exists():
        making = copy(bare(suite), f"{suite}-build.new")
        inside(making, ["apt-get", "-q", "update"])
        inside(making, ["apt-get", "-q", "-y", "--no-install-recommends", "install", "git", "make"])
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
    return source, inside(tree, ["make", "-C", "/srv/fastdns", "deb"])


def control(package: Path) -> dict[str, str]:
    fields = run(["dpkg-deb", "-f", str(package)]).stdout
    return dict(re.findall(r"^(\S+): (.*)$", fields, re.M))


def again(
    package: Path, version: str, *, postinst: str | None = None, conffile: str | None = None
) -> Path:
    """Return the same files as a package of another version, with another postinst or conffile.

    An upgrade goes through the same steps as between packages that were built one by one.
    """
    tree = package.parent / "again"
    remove(tree)
    run(["dpkg-deb", "--raw-extract", str(package), str(tree)])
    fields = (tree / "DEBIAN/control").read_text()
    fields = re.sub(r"^Version: .*$", f"Version: {version}", fields, flags=re.M)
    (tree / "DEBIAN/control").write_text(fields)
    if postinst is not None:
        (tree / "DEBIAN/postinst").write_text(postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)
    if conffile is not None:
        (tree / "etc/fastdns/fastdns.toml").write_text(conffile)
    made = package.with_name(f"fastdns_{version}_{control(package)['Architecture']}.deb")
    run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)])
    remove(tree)
    return made
