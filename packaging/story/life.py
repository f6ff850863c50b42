"""The life of an installed fastdns: installed, used, killed, upgraded, removed, purged."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from box import UNIT, Box
from outside import NAMES, NEIGHBOUR, STRANGER, Outside, must_answer
from tell import Story, mebibytes, must, until
from tree import HERE, differences, files, used

SIZE_BAR = 60 * 2**20
PSS_BAR = 45 * 2**20
SECURITY_BAR = 2.0
RATE = 500  # queries a second while it is upgraded
SAME_WORKER = 40053  # clients are shared out among workers by their address and port

CONFIG = "/etc/fastdns/fastdns.toml"
INCLUDES = 'include = ["/etc/fastdns/conf.d/*.toml"]'
REFERENCE = "/usr/share/doc/fastdns/reference.toml"
OPENS = 'dns = ["0.0.0.0:53", "[::]:53"]'
CONFIG_MARK = "# The owner's own.\n"
DATABASE = "/var/lib/fastdns/cache/data.mdb"
SERVES = "fastdns serves this machine on port 53 of 127.0.0.1 and ::1.\n"
INSTALL = ("apt-get", "-q", "-y", "install")
# Left to itself apt keeps a dependency that a package which stays recommends or suggests.
AUTOREMOVE = (
    *("apt-get", "-q", "-y", "autoremove", "--purge"),
    *("-o", "APT::AutoRemove::RecommendsImportant=false"),
    *("-o", "APT::AutoRemove::SuggestsImportant=false"),
)

# What a package manager, systemd and Debian's own packages write for themselves as they work.
OF_OTHERS = (
    "/var/lib/dpkg/*-old",  # dpkg's copies of its former lists
    "/var/lib/dpkg/alternatives/*",  # kept for dependencies that are gone
    "/var/lib/apt/*",  # what is installed, what only as a dependency
    "/var/cache/apt/*",
    "/var/cache/debconf/*",
    "/var/log/apt/*",
    "/var/log/dpkg.log",
    "/var/log/alternatives.log",
    "/var/log/journal/*",
    "/var/lib/systemd/timers/*",  # when its own timers last ran
    "/var/tmp/systemd-private-*",  # named anew at each boot
    "/etc/passwd-",  # the accounts as they were one change ago
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
)


class Packages(NamedTuple):
    """Where the box sees them: three versions, one that cannot be configured, a former one."""

    first: str
    second: str
    broken: str
    third: str
    former: str


class Life:
    """One box with fastdns in it, step by step."""

    def __init__(self, story: Story, box: Box, outside: Outside, packages: Packages) -> None:
        self.story, self.box, self.outside, self.packages = story, box, outside, packages

    def tell(self) -> None:
        self.installed()
        self.answers()
        self.confined()
        self.small()
        self.killed()
        self.switched_off()
        self.reloaded()
        self.reload_refused()
        self.opened()
        self.upgraded()
        self.upgrade_fails_once()
        self.upgraded_from_former()
        self.removed()
        self.back_again()
        self.purged()

    # ---- installed

    def installed(self) -> None:
        with self.story.step("what is in the box before") as step:
            self.files = files(self.box.tree)
            before, on_disk = sizes(self.box), used(self.box.tree)
            step.tell(f"{len(before)} packages, {len(self.files):,} files")
        with self.story.step(f"apt install .{self.packages.first}") as step:
            said = self.box.run(*INSTALL, self.packages.first)
            must(SERVES in said, "it does not say that it serves", said)
            now = sizes(self.box)
            new = {name: now[name] for name in now.keys() - before.keys()}
            step.tell(f"{len(new)} packages, {mebibytes(sum(new.values()))}")
            on_disk = used(self.box.tree) - on_disk
            step.tell(f"{mebibytes(on_disk)} in disk blocks with what Python compiles")
            step.bar(sum(new.values()) < SIZE_BAR, f"under {mebibytes(SIZE_BAR)}", table(new))
        with self.story.step("the first answer, without an edit") as step:
            step.tell(must_answer(self.box, from_port=SAME_WORKER))
            must_answer(self.box, tcp=True)
        with self.story.step(f"its {CONFIG}") as step:
            self.untouched = self.read_config()
            lines = self.untouched.splitlines()
            set_ = [line for line in lines if line.strip() and line[0] not in "#["]
            must(set_ == [INCLUDES], "something else is set in it", "\n".join(set_))
            step.tell(f"{len(lines)} lines, nothing is set in it but what it includes")
            must(self.box.path(REFERENCE).exists(), f"{REFERENCE} is not there")

    def answers(self) -> None:
        with self.story.step("the second, with a silent resolver") as step, self.outside.silent():
            step.tell(must_answer(self.box, from_port=SAME_WORKER))
            found = self.box.json("fastdns", "stats", "--json")
            step.tell(f"{found['cache_hits_total']} from memory so far")
            must(found["cache_hits_total"], "it did not come from memory", json.dumps(found))

    def confined(self) -> None:
        with self.story.step(f"systemctl status {UNIT}") as step:
            must(self.running(), "it is not active", self.box.journal())
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in self.box.processes()}
            wanted = self.box.run("id", "-u", "fastdns").strip()
            must(owners == {int(wanted)}, f"runs as {owners}, not as fastdns ({wanted})")
            step.tell(f"active, {len(self.box.processes())} processes, all of user fastdns")
            said = self.box.run("systemd-analyze", "security", "--no-pager", UNIT)
            score = re.findall(r"exposure level .*?: ([\d.]+)", said)
            must(score, "systemd-analyze says no level", said)
            step.tell(f"exposure {score[0]} of 10")
            step.bar(float(score[0]) <= SECURITY_BAR, f"at most {SECURITY_BAR}")

    # ---- in use

    def small(self) -> None:
        with self.story.step("workers = 1, and restarted") as step:
            self.configure("workers = 1\n")
            self.box.run("systemctl", "restart", UNIT)
            step.tell(f"{len(self.box.processes())} processes")
            with self.outside.silent():
                step.tell(f"from disk: {must_answer(self.box)}")
        with self.story.step("idle") as step:
            pss = idle_pss(self.box)
            step.tell(f"PSS {mebibytes(pss)}")
            step.bar(pss < PSS_BAR, f"under {mebibytes(PSS_BAR)}")

    def killed(self) -> None:
        with self.story.step("kill -9 of all its processes") as step:
            must_answer(self.box, "just.new.example")
            before = self.box.processes()
            self.box.run("systemctl", "kill", "--signal=KILL", UNIT)
            until(lambda: self.running() and not set(before) & set(self.box.processes()), "a start")
            with self.outside.silent():
                step.tell(f"back by itself, {must_answer(self.box, 'just.new.example')}")

    def switched_off(self) -> None:
        with self.story.step("switched off without a warning, and on again") as step:
            self.box.power_cycle()
            self.outside.connect()
            must(self.running(), "it does not run", self.box.journal())
            with self.outside.silent():
                step.tell(f"from disk: {must_answer(self.box)}")

    def reloaded(self) -> None:
        with self.story.step("another setting, and systemctl reload") as step:
            self.configure('workers = 1\nlog_level = "debug"\n')
            self.box.run("systemctl", "reload", UNIT)
            step.tell(must_answer(self.box))

    def reload_refused(self) -> None:
        with self.story.step("a setting that is wrong, and systemctl reload") as step:
            before, good = self.box.processes(), self.read_config()
            self.configure("wrokers = 1\n")
            must(not self.box.succeeds("systemctl", "reload", UNIT), "systemd takes the reload")
            must("wrokers" in self.box.journal(), "the journal does not say what is wrong")
            must(self.box.processes() == before, "other processes run")
            step.tell(f"refused, and it serves on: {must_answer(self.box)}")
            self.box.path(CONFIG).write_text(good)

    def opened(self) -> None:
        with self.story.step("the line that opens it to the LAN, and systemctl reload") as step:
            good = self.read_config()
            before = self.outside.asks("www.example", by=NEIGHBOUR)
            must(before == "", f"a neighbour is answered {before} without it")
            self.box.path(CONFIG).write_text(uncommented(good, OPENS))
            self.box.run("systemctl", "reload", UNIT)
            for who, address, wanted in (
                ("a neighbour", NEIGHBOUR, "NOERROR"),
                ("a stranger", STRANGER, "REFUSED"),
            ):
                found = self.outside.asks("www.example", by=address)
                must(found == wanted, f"{who} is answered {found or 'nothing'}, not {wanted}")
                step.tell(f"{who} ({address}) gets {found}")
            self.box.path(CONFIG).write_text(good)
            self.box.run("systemctl", "restart", UNIT)
            found = self.outside.asks("www.example", by=NEIGHBOUR)
            must(found == "", f"closed again, a neighbour is answered {found}")

    # ---- upgraded

    def upgraded(self) -> None:
        with (
            self.story.step(f"apt install .{self.packages.second}, an upgrade") as step,
            Load(self.box) as load,
        ):
            must_answer(self.box, "before.new.example")
            before = self.box.processes()
            said = self.box.run(*INSTALL, self.packages.second)
            must(SERVES not in said, "an upgrade says again that it serves", said)
            must(not set(before) & set(self.box.processes()), "it was not restarted")
            with self.outside.silent():
                must_answer(self.box, "before.new.example")
            step.tell(load.end())
            must(CONFIG_MARK in self.read_config(), "the configuration is another")

    def upgrade_fails_once(self) -> None:
        with self.story.step("an upgrade whose script fails, then one that does not") as step:
            failed = self.box.run(*INSTALL, self.packages.broken, status=100)
            must("cannot be configured" in failed, "it fails for another reason", failed)
            step.tell(f"it serves meanwhile: {must_answer(self.box)}")
            self.box.run(*INSTALL, self.packages.third)
            must(self.box.run("dpkg", "--audit").strip() == "", "dpkg finds something half done")
            must_answer(self.box)

    def upgraded_from_former(self) -> None:
        """dpkg has no terminal here: a question would be the end of the upgrade."""
        downgrade = (*INSTALL, "--allow-downgrades", self.packages.former)
        with self.story.step("a former version's file that nobody has changed, upgraded") as step:
            self.box.path(CONFIG).write_text(self.untouched)
            self.box.run(*downgrade)
            must(self.read_config() != self.untouched, "the former file is not there")
            self.box.run(*INSTALL, self.packages.third)
            must(self.read_config() == self.untouched, "it is not the new one", self.read_config())
            step.tell(f"it is the new one: {must_answer(self.box)}")
        with self.story.step("one that somebody has changed, upgraded") as step:
            self.box.run(*downgrade)
            mine = CONFIG_MARK + "workers = 1\n" + self.read_config()
            self.box.path(CONFIG).write_text(mine)
            self.box.run(*INSTALL, self.packages.third)
            must(self.read_config() == mine, "it is another one", self.read_config())
            must(not list(self.box.path("/etc/fastdns/conf.d").iterdir()), "something is left")
            step.tell(f"it stays, without a question: {must_answer(self.box)}")

    # ---- removed

    def removed(self) -> None:
        with self.story.step("apt remove fastdns") as step:
            self.box.run("apt-get", "-q", "-y", "remove", "fastdns")
            must(not self.box.processes(), "it still runs")
            must(not self.box.listens(53), "somebody listens on port 53")
            must(not self.box.path("/run/fastdns").exists(), "/run/fastdns is there")
            for kept in (CONFIG, DATABASE):
                must(self.box.path(kept).exists(), f"{kept} is gone")
            step.tell("nothing listens on port 53, configuration and cache are there")

    def back_again(self) -> None:
        with self.story.step("installed again, with a silent resolver") as step:
            with self.outside.silent():
                self.box.run(*INSTALL, self.packages.third)
                step.tell(must_answer(self.box))
            must(CONFIG_MARK in self.read_config(), "the configuration is another")

    def purged(self) -> None:
        with self.story.step("apt purge fastdns, and autoremove") as step:
            self.box.run("apt-get", "-q", "-y", "purge", "fastdns")
            left = self.traces()
            self.box.run(*AUTOREMOVE)
            left += differences(self.files, files(self.box.tree), OF_OTHERS)
            must(not left, "not all is as it was before", "\n".join(left))
            step.tell("no user, no process, no file is left")

    def traces(self) -> list[str]:
        """Return what is still there of a package that was purged, a line each."""
        known = ("passwd", "group", "shadow", "gshadow")
        found = [f"in {name}" for name in known if self.box.succeeds("getent", name, "fastdns")]
        found += [f"process {pid}" for pid in self.box.processes()]
        found += ["somebody listens on port 53"] * self.box.listens(53)
        found += ["/run/fastdns"] * self.box.path("/run/fastdns").exists()
        found += [path for path in files(self.box.tree) if "fastdns" in path]
        return [line for line in found if not line.startswith(("/srv/", "/var/cache/apt/"))]

    # ---- how it is

    def running(self) -> bool:
        return self.box.succeeds("systemctl", "--quiet", "is-active", UNIT)

    def read_config(self) -> str:
        return self.box.path(CONFIG).read_text()

    def configure(self, lines: str) -> None:
        """Put these lines before those that the package came with."""
        self.box.path(CONFIG).write_text(CONFIG_MARK + lines + self.untouched)


class Load:
    """Queries at a steady rate while the `with` block runs."""

    def __init__(self, box: Box) -> None:
        asker = [sys.executable, str(HERE / "asker.py"), str(RATE), str(NAMES)]
        self._command = box.on_its_network(*asker)

    def __enter__(self) -> "Load":
        self._asker = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def end(self) -> str:
        """Return in words what became of the queries; raise when one was lost."""
        said, _ = self._asker.communicate(timeout=30)
        found = json.loads(said)
        words = f"{found['sent']:,} queries meanwhile, {RATE} a second, {found['lost']} lost"
        must(not found["lost"] and not found["failed"], words, said)
        return f"{words}, the slowest {found['worst_ms']:.0f} ms"

    def __exit__(self, *_: object) -> None:
        self._asker.kill()
        self._asker.wait()


def uncommented(text: str, line: str, put: str | None = None) -> str:
    """Return the configuration with the "#" taken away from this line, or another put there."""
    wanted = re.compile(rf"^# ?{re.escape(line)}", re.M)
    must(len(wanted.findall(text)) == 1, f"{CONFIG} does not have one line `#{line}`", text)
    return wanted.sub(lambda _: put or line, text)


def sizes(box: Box) -> dict[str, int]:
    """Return the installed size of each package, as dpkg knows it, in octets."""
    lines = box.run("dpkg-query", "-W", "-f", "${Status}|${Package}|${Installed-Size}\n")
    rows = (line.split("|") for line in lines.splitlines() if "ok installed|" in line)
    return {name: int(size) * 1024 for _, name, size in rows}


def table(found: dict[str, int]) -> str:
    rows = sorted(found.items(), key=lambda row: -row[1])
    return "\n".join(f"{mebibytes(size):>10}  {name}" for name, size in rows)


def idle_pss(box: Box) -> int:
    """Return the memory of all its processes, shared pages shared out, once it stands still."""
    readings: list[int] = []

    def still() -> bool:
        readings.append(sum(map(pss, box.processes())))
        return len(readings) > 1 and abs(readings[-1] - readings[-2]) < 2**16

    until(still, "memory that stands still", every=1)
    return readings[-1]


def pss(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(re.findall(r"^Pss: +(\d+)", rollup, re.M)[0])
