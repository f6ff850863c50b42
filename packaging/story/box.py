"""A box: a tree whose systemd runs as PID 1 in separate namespaces. Nothing of it stays."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from tell import Wrong, run, until
from tree import DEVICES, ENVIRONMENT

UNIT = "fastdns.service"
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
START = 'echo $$ >"$1/cgroup.procs"; shift; exec unshare --fork --kill-child=KILL "$@"'

# /proc/sys is this machine's but for the network's part and the boot's name, by which systemd and
# fastdns know that it was switched off; so are /sys and the devices. The cgroups are a branch of
# this machine's, which --cgroup makes look like the whole tree.
BOOT = f"""
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
cat /proc/sys/kernel/random/uuid >run/boot_id
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount --bind run/boot_id proc/sys/kernel/random/boot_id
rm run/boot_id
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs tmp
{DEVICES}
hostname box
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
rmdir /run/old
exec env -i container=story PATH="$PATH" /lib/systemd/systemd --log-target=console --show-status=0
"""


class Box:
    """A tree that runs while the `with` block does."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._log = tree.with_suffix(".log")

    def __enter__(self) -> "Box":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def power_cycle(self) -> None:
        """Switch it off without a warning, and on again; its network must be connected again."""
        self._end()
        self._start()

    def _start(self) -> None:
        self._group = cgroups() / f"fastdns-story-{os.getpid()}-{self.tree.name}"
        self._group.mkdir(exist_ok=True)
        command = ["sh", "-ec", START, "sh", str(self._group), *NAMESPACES]
        with self._log.open("wb") as log:
            self._unshare = subprocess.Popen(
                [*DIE_WITH_US, *command, "sh", "-ec", BOOT, "sh", str(self.tree)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._is_there, "systemd of the box")
            self.pid = children(self._unshare.pid)[0]
            run([*self._enter("-n"), "ip", "link", "set", "lo", "up"])
            self.run("systemctl", "is-system-running", "--wait", status=None)
        except BaseException:
            self._end()
            raise

    def _is_there(self) -> bool:
        if self._unshare.poll() is not None:
            raise Wrong("the box does not boot", self._log.read_text(errors="replace"))
        below = children(self._unshare.pid)
        return bool(below) and Path(f"/proc/{below[0]}/root/run/systemd/private").exists()

    def _end(self) -> None:
        end(self._unshare)
        events = self._group / "cgroup.events"
        until(lambda: "populated 0" in events.read_text(), "the end of the box")
        for directory, _, _ in os.walk(self._group, topdown=False):
            os.rmdir(directory)
        self._log.unlink(missing_ok=True)

    # ---- what is done in it

    def _enter(self, *namespaces: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), *namespaces]

    def command(self, *words: str) -> list[str]:
        """Return what runs this in the box, with the tree's programs, as its root."""
        variables = (f"{name}={value}" for name, value in ENVIRONMENT.items())
        return [*self._enter("-a"), "env", "-i", *variables, *words]

    def run(self, *words: str, status: int | None = 0, patience: float = 120) -> str:
        """Return what a command of the tree prints, on both outputs."""
        done = run(self.command(*words), status=status, patience=patience)
        return done.stdout + done.stderr

    def succeeds(self, *words: str) -> bool:
        return not run(self.command(*words), status=None).returncode

    def json(self, *words: str) -> Any:
        return json.loads(run(self.command(*words)).stdout)

    def on_its_network(self, *words: str) -> list[str]:
        """Return what runs this machine's program with the box's network."""
        return [*self._enter("-n"), *words]

    # ---- what is seen of it

    def path(self, path: str) -> Path:
        """Return where this machine sees a file of the box, those on its tmpfs included."""
        return Path(f"/proc/{self.pid}/root{path}")

    def processes(self, unit: str = UNIT) -> list[int]:
        """Return the unit's processes, by this machine's numbers."""
        place = self._group / "system.slice" / unit
        found = []
        for directory, _, _ in os.walk(place):
            found += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
        return sorted(found)

    def listens(self, port: int) -> bool:
        """Return whether a process has this port, over UDP or TCP."""
        wanted = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 ", re.M)
        tables = (Path(f"/proc/{self.pid}/net/{name}") for name in ("udp", "udp6", "tcp", "tcp6"))
        return any(wanted.search(table.read_text()) for table in tables)

    def state(self) -> str:
        """Return what systemd says of the whole box, and which units have failed."""
        words = self.run("systemctl", "is-system-running", status=None).strip()
        failed = self.run("systemctl", "--failed", "--plain", "--no-legend", status=None)
        units = ", ".join(line.split()[0] for line in failed.splitlines())
        return f"{words} ({units})" if units else words

    def journal(self, unit: str = UNIT) -> str:
        """Return what the unit said, and systemd of it."""
        lines = ("journalctl", "--no-pager", "-q", "-n", "40", "-u", unit)
        return f"journalctl -u {unit}\n{self.run(*lines, status=None)}"


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def end(unshare: subprocess.Popen[bytes]) -> None:
    """End the first process of a PID namespace, and so all of them, and `unshare`, its parent."""
    for child in children(unshare.pid):
        os.kill(child, signal.SIGKILL)
    try:
        unshare.wait(10)
    except subprocess.TimeoutExpired:
        unshare.kill()
        unshare.wait()


def signal_tree(pid: int, number: signal.Signals) -> None:
    for child in children(pid):
        signal_tree(child, number)
    os.kill(pid, number)


def cgroups() -> Path:
    """Return where this machine has its cgroups of version 2."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise Wrong("no cgroup2 is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
