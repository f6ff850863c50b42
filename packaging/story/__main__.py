"""The package, tried from install to purge in a bare Debian with a real systemd: `make test-deb`.

Nothing on this machine changes: boxes are trees in build/story, in separate namespaces.
"""

import argparse
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import neighbours
from box import NAMESPACES, Box, cgroups
from life import Life, Packages
from outside import RESOLVER, Outside
from package import again, built, control
from tell import Story, Wrong, leave, mebibytes, run
from tree import (
    BESIDE,
    ROOT,
    VARIANT,
    VERSIONS,
    bare,
    copy,
    download,
    remove,
    remove_left_behind,
    used,
)

PROGRAMS = ("debootstrap", "dig", "dpkg-deb", "ip", "nsd", "nsenter", "setpriv", "unshare")
BROKEN = "#!/bin/sh\necho 'this version cannot be configured' >&2\nexit 1\n"
REFERENCE = ROOT / "packaging" / "reference.toml"  # as former versions brought it
ACTS = {
    "life": "From install to purge",
    "taken": "Where dnsmasq has port 53",
    "beside": "Beside systemd-resolved",
}


def lacking() -> str:
    """Return in a line what this machine lacks to boot a box; nothing when it can."""
    if os.geteuid():
        return "it needs root, for namespaces and chroot"
    try:
        trial = cgroups() / f"fastdns-story-{os.getpid()}"
        trial.mkdir()
        trial.rmdir()
    except (OSError, Wrong) as error:
        return f"it needs cgroups of version 2: {error}"
    try:
        run(["unshare", "--fork", *NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
    except (OSError, Wrong) as error:
        return f"it needs namespaces and mounts of its own: {error}"
    return "" if shutil.which("apt-get") else missing_programs()


def missing_programs() -> str:
    """Return in a line which programs are not installed."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-deb", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=list(VERSIONS), default="bookworm")
    parser.add_argument("--package", type=Path, help="a package to try, instead of building one")
    parser.add_argument("--only", choices=list(ACTS), help="one of the boxes")
    parser.add_argument(
        "--lacking", action="store_true", help="only say, in a line, what this machine lacks for it"
    )
    return parser.parse_args()


@contextmanager
def running(story: Story, base: Path, place: Path) -> Iterator[tuple[Box, Outside]]:
    """A copy of the bare tree with the packages in /srv, running, with nsd as its resolver."""
    with ExitStack() as stack:
        with story.step("the box boots") as step:
            tree = copy(base, f"box-{os.getpid()}")
            stack.callback(remove, tree)
            for package in place.glob("*.deb"):
                shutil.copy(package, tree / "srv")
            (tree / "etc/resolv.conf").write_text(f"nameserver {RESOLVER}\n")
            (tree / "etc/hostname").write_text("box\n")
            # Every machine has one: where there is none, Debian's netbase leaves one behind.
            (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 box\n")
            box = stack.enter_context(Box(tree))
            outside = stack.enter_context(Outside(box, place))
            version = box.run("systemctl", "--version").split()[1]
            step.tell(f"systemd {version} is {box.state()}, its resolver is nsd at {RESOLVER}")
        story.evidence = box.journal
        yield box, outside
        story.evidence = str


def packages(story: Story, suite: str, given: Path | None, place: Path) -> Packages:
    """Return the package and higher versions of it, all in `place`."""
    with story.step(f"the package {given}" if given else "make deb") as step:
        first = Path(shutil.copy(given, place)) if given else built(suite, place)
        step.tell(f"{first.name}, {mebibytes(first.stat().st_size)}")
    with story.step("higher versions of it") as step:
        version = control(first)["Version"]
        second, third = (again(first, f"{version}+story{number}") for number in (1, 3))
        broken = again(first, f"{version}+story2", postinst=BROKEN)
        step.tell("one of them with a script that fails")
    with story.step("a lower version with the configuration file of former versions") as step:
        former = again(first, f"{version}~former", conffile=REFERENCE.read_text())
        step.tell(former.name)
    made = (first, second, broken, third, former)
    return Packages(*(f"/srv/{package.name}" for package in made))


def prepare(story: Story, suite: str, made: Packages, place: Path) -> Path:
    """Return the bare tree, with all that a box is to install in its apt's cache."""
    with story.step(f"a bare Debian {VERSIONS[suite]}") as step:
        base = bare(suite)
        beside = " and ".join(BESIDE)
        step.tell(f"debootstrap --variant={VARIANT} with {beside}, {mebibytes(used(base))}")
    with story.step("its apt fetches what the package depends on") as step:
        for package in place.glob("*.deb"):
            shutil.copy(package, base / "srv")
        download(base, [made.third, "dnsmasq", "systemd-resolved"])
        for package in place.glob("*.deb"):
            (base / "srv" / package.name).unlink()
        step.tell("from now on, no box has a network but its own")
    return base


def tell(chosen: argparse.Namespace, place: Path) -> None:
    story = Story()
    story.heading(f"The package, and a bare Debian {VERSIONS[chosen.suite]} ({chosen.suite})")
    made = packages(story, chosen.suite, chosen.package, place)
    base = prepare(story, chosen.suite, made, place)
    for act, heading in ACTS.items():
        if chosen.only not in (None, act):
            continue
        story.heading(heading)
        with running(story, base, place) as (box, outside):
            if act == "life":
                Life(story, box, outside, made).tell()
            elif act == "taken":
                neighbours.port_is_taken(story, box, made.first)
            else:
                neighbours.beside_resolved(story, box, made.first)
    story.end()


def main() -> None:
    chosen = options()
    if words := lacking() or ("" if chosen.lacking else missing_programs()):
        print(words if chosen.lacking else f"make test-deb: {words}", flush=True)
        raise SystemExit(1)
    if chosen.lacking:
        return
    remove_left_behind()
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
    with tempfile.TemporaryDirectory(prefix="fastdns-story-") as name:
        tell(chosen, Path(name))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
