"""Boxes on which another program resolves names: installing works, and it keeps its port."""

import json
import re

from box import UNIT, Box
from life import CONFIG, INSTALL, OPENS, uncommented
from outside import RESOLVER, ask, must_answer
from tell import Story, must, until

ADVICE = ("journalctl -u fastdns", "fastdns doctor")
RESOLV_CONF = "/etc/resolv.conf"
DNSMASQ = "dnsmasq.service"
RESOLVED = "systemd-resolved.service"
STUB = "127.0.0.53"


def port_is_taken(story: Story, box: Box, package: str) -> None:
    with story.step("apt install dnsmasq") as step:
        box.run(*INSTALL, "dnsmasq")
        step.tell(must_answer(box))
    before = box.path(RESOLV_CONF).read_text()
    with story.step(f"apt install .{package}") as step:
        said = box.run(*INSTALL, package)
        must(is_installed(box), "dpkg does not call it installed", said)
        must(box.processes(DNSMASQ), "dnsmasq was ended", said)
        for words in ADVICE:
            must(words in said, f"it does not name `{words}`", said)
        step.tell("\n".join(["dpkg is content, dnsmasq serves on, and it says", *advice(said)]))
    has_doctor = box.succeeds("fastdns", "doctor", "--help")
    if has_doctor:
        doctor_makes_room(story, box)
        resolver_is_pointed(story, box)
    else:
        with story.step("dnsmasq makes room") as step:
            box.run("systemctl", "disable", "--now", DNSMASQ)
            box.run("systemctl", "restart", UNIT)
            step.tell(f"by hand, for want of fastdns doctor: {must_answer(box)}")
    wrong_configuration(story, box, package)
    with story.step("apt purge fastdns") as step:
        box.run("apt-get", "-q", "-y", "purge", "fastdns")
        must(box.path(RESOLV_CONF).read_text() == before, f"{RESOLV_CONF} is not as it was")
        if has_doctor:
            must(box.succeeds("systemctl", "is-enabled", DNSMASQ), "dnsmasq is not enabled again")
            step.tell(f"dnsmasq has its port again: {must_answer(box)}")


def doctor_makes_room(story: Story, box: Box) -> None:
    with story.step("fastdns doctor") as step:
        pid = box.run("systemctl", "show", "--value", "--property=MainPID", DNSMASQ).strip()
        said = box.run("fastdns", "doctor", status=1)
        named = [line for line in said.splitlines() if "dnsmasq" in line]
        must(named, "it does not name dnsmasq", said)
        must(pid in said, f"it does not say that it is process {pid}", said)
        step.tell(named[0].strip())
    with story.step("fastdns doctor --fix --yes") as step:
        said = box.run("fastdns", "doctor", "--fix", "--yes")
        must(not box.processes(DNSMASQ), "dnsmasq still runs", said)
        must(said.count("OTHER MACHINES") == 2, "it does not say who has no DNS then", said)
        step.tell(must_answer(box))
    with story.step("fastdns doctor --undo --yes, and --fix --yes once more") as step:
        said = box.run("fastdns", "doctor", "--undo", "--yes")
        must(box.processes(DNSMASQ), "dnsmasq does not run", said)
        must(not box.succeeds("systemctl", "is-enabled", UNIT), f"{UNIT} is enabled", said)
        step.tell(f"{UNIT} does not start with the system, dnsmasq does: {must_answer(box)}")
        said = box.run("fastdns", "doctor", "--fix", "--yes")
        must(box.succeeds("systemctl", "is-enabled", UNIT), f"{UNIT} is not enabled", said)
        step.tell(must_answer(box))


def resolver_is_pointed(story: Story, box: Box) -> None:
    """Have the box itself ask fastdns, which then needs to know whom to ask."""
    with story.step("fastdns doctor --fix --resolver --yes, with upstream.servers set") as step:
        text = box.path(CONFIG).read_text()
        box.path(CONFIG).write_text(uncommented(text, "servers = []", f'servers = ["{RESOLVER}"]'))
        box.run("systemctl", "reload", UNIT)
        box.run("fastdns", "doctor", "--fix", "--resolver", "--yes")
        now = box.path(RESOLV_CONF).read_text()
        must("127.0.0.1" in now, f"{RESOLV_CONF} does not name it", now)
        found = box.run("getent", "ahostsv4", "asked.new.example")
        step.tell(f"getent asks fastdns: asked.new.example is {found.split()[0]}")


def wrong_configuration(story: Story, box: Box, package: str) -> None:
    with story.step("installed once more, with a wrong configuration") as step:
        good = box.path(CONFIG).read_text()
        box.path(CONFIG).write_text(f"wrokers = 1\n{good}")
        said = box.run(*INSTALL, "--reinstall", package)
        must(is_installed(box), "dpkg does not call it installed", said)
        must(ADVICE[0] in said, f"it does not name `{ADVICE[0]}`", said)
        box.path(CONFIG).write_text(good)
        box.run("systemctl", "restart", UNIT)
        step.tell(f"dpkg is content, and once it is right: {must_answer(box)}")


def beside_resolved(story: Story, box: Box, package: str) -> None:
    """The stub of systemd-resolved has other addresses than fastdns: both serve."""
    with story.step("apt install systemd-resolved, which manages /etc/resolv.conf") as step:
        settings = box.path("/etc/systemd/resolved.conf.d/story.conf")
        settings.parent.mkdir(parents=True)
        settings.write_text(f"[Resolve]\nDNS={RESOLVER}\n")
        box.run(*INSTALL, "systemd-resolved")
        must(box.processes(RESOLVED), "it does not run", box.journal(RESOLVED))
        must(STUB in box.path(RESOLV_CONF).read_text(), "its stub is not in use")
        step.tell(stub_answers(box))
    with story.step(f"apt install .{package}") as step:
        box.run(*INSTALL, package)
        step.tell(f"an answer without an edit: {must_answer(box)}")
    with story.step("whom it asks") as step:
        upstreams = box.json("fastdns", "stats", "--json")["upstreams"]
        names = [upstream["name"] for upstream in upstreams]
        must(names == [f"{RESOLVER}:53"], "others", json.dumps(upstreams))
        step.tell(f"{names[0]}, the real one behind the stub")
    stub_makes_room(story, box)
    with story.step("apt purge fastdns") as step:
        box.run("apt-get", "-q", "-y", "purge", "fastdns")
        must(STUB in box.path(RESOLV_CONF).read_text(), f"{RESOLV_CONF} is another")
        step.tell(f"resolved serves on: {stub_answers(box)}")


def stub_makes_room(story: Story, box: Box) -> None:
    """Beside all addresses of the box there is no room for the stub."""
    with story.step("opened to all addresses, the stub in the way: fastdns doctor --fix") as step:
        text = box.path(CONFIG).read_text()
        servers = uncommented(text, "servers = []", f'servers = ["{RESOLVER}"]')
        box.path(CONFIG).write_text(uncommented(servers, OPENS))
        must(not box.succeeds("systemctl", "restart", UNIT), "it starts, so the stub is no trouble")
        said = box.run("fastdns", "doctor", status=1)
        must(RESOLVED in said, "it does not name systemd-resolved", said)
        said = box.run("fastdns", "doctor", "--fix", "--yes")
        step.tell(must_answer(box))
    with story.step("fastdns doctor --undo --yes") as step:
        box.run("fastdns", "doctor", "--undo", "--yes")
        step.tell(f"the stub is back: {stub_answers(box)}")


def stub_answers(box: Box) -> str:
    """Return the stub's answer: for a moment after its start it knows nobody to ask."""
    until(lambda: ask(box, "www.example", server=STUB), "an answer of systemd-resolved")
    return must_answer(box, server=STUB)


def is_installed(box: Box) -> bool:
    return box.run("dpkg-query", "-W", "-f", "${Status}", "fastdns") == "install ok installed"


def advice(said: str) -> list[str]:
    return re.findall(r"^.*(?:doctor|journalctl).*$", said, re.M)
