"""Trees of files: a bare Debian, made once and copied for each box; what is in one, compared."""

import fnmatch
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tell import Wrong, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "story"
MIRROR = "http://deb.debian.org/debian"
VERSIONS = {"bookworm": "12", "trixie": "13"}

# Debian's own minimum (what is Essential, and apt), and what makes it a machine that boots.
VARIANT = "minbase"
BESIDE = ("systemd-sysv", "dbus")

# For commands in a tree: nothing of the caller's but what apt needs to reach its mirror.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
PROXIES = {name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ}
MOUNTED = ("/proc", "/sys", "/dev", "/run")
# A few devices of this machine and nothing else of its files: what deletes in a tree must not come
# by anything outside of it.
DEVICES = """
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    : >dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
"""
INSIDE = f"""
mount --make-rprivate /
cd "$1"
mount -t proc proc proc
{DEVICES}
exec chroot "$@"
"""


def bare(suite: str) -> Path:
    """Return the bare Debian of this suite, made now if it is not there yet; no box changes it."""
    tree = BUILD / suite
    if not tree.exists():
        making = BUILD / f"{suite}.new"
        remove(making)
        BUILD.mkdir(parents=True, exist_ok=True)
        options = [f"--variant={VARIANT}", f"--include={','.join(BESIDE)}"]
        run(["debootstrap", *options, suite, str(making), MIRROR], patience=900)
        making.rename(tree)
    return tree


def inside(
    tree: Path, command: Sequence[str], *, status: int | None = 0, patience: float = 900
) -> str:
    """Run a command of the tree, which has this machine's network; no process of it stays."""
    shutil.copyfile("/etc/resolv.conf", tree / "etc/resolv.conf")
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = run(
        [*namespaces, "sh", "-ec", INSIDE, "sh", str(tree), *command],
        status=status,
        patience=patience,
        environment=ENVIRONMENT | PROXIES,
    )
    return done.stdout + done.stderr


def download(tree: Path, packages: Iterable[str]) -> None:
    """Have the tree's apt hold these packages and all that they need; install nothing."""
    get = ["apt-get", "-q", "-y", "--download-only", "install", *packages]
    try:
        inside(tree, get)
    except Wrong:  # lists that are missing or too old show in a failure
        inside(tree, ["apt-get", "-q", "update"])
        inside(tree, get)


def copy(tree: Path, name: str) -> Path:
    place = BUILD / name
    remove(place)
    run(["cp", "-a", "--reflink=auto", str(tree), str(place)])
    return place


def remove(tree: Path) -> None:
    """Remove a tree of ours; never what is mounted in it."""
    if not tree.exists():
        return
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    if any(Path(place).is_relative_to(tree) for place in mounted):
        raise Wrong(f"something is mounted in {tree}: umount it, then remove the tree")
    run(["rm", "-rf", "--one-file-system", str(tree)])


def remove_left_behind() -> None:
    """Remove the boxes of stories that were killed before they could."""
    for left in BUILD.glob("box-*"):
        if not Path("/proc", left.stem.removeprefix("box-")).exists():
            left.unlink() if left.is_file() else remove(left)


def files(tree: Path) -> dict[str, str]:
    """Return what each file of the tree is: kind, mode, owner; below /etc, its content, too."""
    found = {}
    for directory, subdirectories, names in os.walk(tree):
        at = "" if directory == str(tree) else "/" + os.path.relpath(directory, tree)
        subdirectories[:] = [name for name in subdirectories if f"{at}/{name}" not in MOUNTED]
        for name in subdirectories + names:
            found[f"{at}/{name}"] = description(Path(directory, name), f"{at}/{name}")
    return found


def description(file: Path, path: str) -> str:
    there = file.lstat()
    words = f"{stat.filemode(there.st_mode)} {there.st_uid}:{there.st_gid}"
    if stat.S_ISLNK(there.st_mode):
        return f"{words} -> {file.readlink()}"
    if stat.S_ISREG(there.st_mode) and path.startswith("/etc/"):
        return f"{words} {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    return words


def differences(
    before: Mapping[str, str], after: Mapping[str, str], allowed: Iterable[str]
) -> list[str]:
    """Return a line for each path that came, went or changed, but for those of a pattern."""
    pattern = re.compile("|".join(map(fnmatch.translate, allowed)))
    lines = []
    for path in sorted(before.keys() | after.keys()):
        was, is_now = before.get(path), after.get(path)
        if was == is_now or pattern.match(path):
            continue
        if was is None:
            lines.append(f"left behind: {path} ({is_now})")
        elif is_now is None:
            lines.append(f"gone: {path} ({was})")
        else:
            lines.append(f"changed: {path}, {was} before, {is_now} now")
    return lines


def used(tree: Path) -> int:
    """Return the octets that files take up on disk, without those of /var: apt's, the journal's."""
    total = 0
    for directory, subdirectories, names in os.walk(tree):
        if directory == str(tree):
            subdirectories.remove("var")
        total += sum(512 * Path(directory, name).lstat().st_blocks for name in names)
    return total
