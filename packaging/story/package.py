"""The package under test: built by `make deb`, here or in a tree of its suite; higher versions."""

import re
import shutil
from pathlib import Path

from elsewhere import architecture, built_elsewhere, suite_here
from tell import Wrong, run
from tree import ROOT, remove


def built(suite: str, place: Path) -> Path:
    """Return the package as this suite builds it, copied to `place`."""
    if suite != suite_here():
        return Path(shutil.copy(built_elsewhere(suite, architecture())[-1], place))
    said = run(["make", "-C", str(ROOT), "deb"], patience=900).stdout
    found = re.findall(r"^dist/fastdns_.*\.deb$", said, re.M)
    if not found:
        raise Wrong("make deb names no package", said)
    return Path(shutil.copy(ROOT / found[-1], place))


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
