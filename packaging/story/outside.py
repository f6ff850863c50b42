"""The network of the box, over its one interface: a resolver, nsd with our names, and no more."""

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from box import DIE_WITH_US, Box, children, end, signal_tree
from tell import Wrong, run, until

FASTDNS = "127.0.0.1"
RESOLVER = "10.53.0.1"
ADDRESS = "10.53.0.2"
NEIGHBOUR = "10.53.0.3"
STRANGER = "198.51.100.1"
NAMES = 200
TTL = 3600

START = 'read go || :; exec nsd -d -c "$1"'
CONFIG = """\
server:
    server-count: 1
    ip-address: {resolver}
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: ""
    zonelistfile: "{directory}/zone.list"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "."
    zonefile: "zone"
"""
ZONE = """\
$ORIGIN .
$TTL {ttl}
@ SOA ns.example. hostmaster.example. 1 3600 900 604800 300
@ NS ns.example.
ns.example. A {resolver}
www.example. A 192.0.2.1
*.new.example. A 192.0.2.2
"""


class Outside:
    """The box's resolver, which answers while the `with` block runs."""

    def __init__(self, box: Box, directory: Path) -> None:
        self._box = box
        self._directory = directory
        self._log = directory / "log"

    def __enter__(self) -> "Outside":
        place = self._directory
        (place / "nsd.conf").write_text(CONFIG.format(resolver=RESOLVER, directory=place))
        names = "".join(f"h{number}.example. A 192.0.2.3\n" for number in range(NAMES))
        (place / "zone").write_text(ZONE.format(resolver=RESOLVER, ttl=TTL) + names)
        unshare = ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL"]
        with self._log.open("wb") as log:
            self._unshare = subprocess.Popen(
                [*DIE_WITH_US, *unshare, "sh", "-ec", START, "sh", str(place / "nsd.conf")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._is_there, "the network outside of the box")
            self.connect()
            assert self._unshare.stdin
            self._unshare.stdin.close()  # only now can nsd bind its address
            until(self._answers, "an answer of nsd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self._unshare)

    def connect(self) -> None:
        """Give the box, which has been switched on, its one interface."""
        there = ["nsenter", "-t", str(children(self._unshare.pid)[0]), "-n", "ip"]
        here = self._box.on_its_network("ip")
        peer = ["peer", "name", "eth0", "netns", str(self._box.pid)]
        run([*there, "link", "add", "eth0", "type", "veth", *peer])
        for ip, address in ((there, RESOLVER), (here, ADDRESS)):
            run([*ip, "address", "add", f"{address}/24", "dev", "eth0"])
            run([*ip, "link", "set", "eth0", "up"])
        run([*here, "route", "add", "default", "via", RESOLVER])

    def asks(self, name: str, *, by: str) -> str:
        """Return the RCODE that the box gives to a neighbour (or stranger) with this address."""
        there = ["nsenter", "-t", str(children(self._unshare.pid)[0]), "-n"]
        run([*there, "ip", "address", "replace", f"{by}/24", "dev", "eth0"])
        return status_of(
            run([*there, "dig", "-b", by, f"@{ADDRESS}", "+tries=1", name], status=None).stdout
        )

    def silent(self) -> "Silence":
        return Silence(children(self._unshare.pid)[0])

    def _is_there(self) -> bool:
        if self._unshare.poll() is not None:
            raise Wrong("nsd does not start", self._log.read_text(errors="replace"))
        return bool(children(self._unshare.pid))

    def _answers(self) -> bool:
        return self._is_there() and ask(self._box, "ns.example", server=RESOLVER) is not None


class Silence:
    """The resolver gives no answer while this `with` block runs: what comes is from the cache."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        signal_tree(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        signal_tree(self._pid, signal.SIGCONT)


def ask(
    box: Box, name: str, *, server: str = FASTDNS, from_port: int = 0, tcp: bool = False
) -> tuple[str, float] | None:
    """Return the address that dig gets and the milliseconds that it took; it asks once."""
    began = time.monotonic()
    dig = ["dig", "-u", "-b", f"0.0.0.0#{from_port}", f"@{server}", "+tries=1", "+time=3", name]
    said = run(box.on_its_network(*dig, *["+tcp"] * tcp), status=None).stdout
    answer = re.search(r"^[^;\s]\S*\s+\d+\s+IN\s+A\s+(\S+)$", said, re.M)
    if not answer or status_of(said) != "NOERROR":
        return None
    took = re.search(r"Query time: (\d+) usec", said)
    return answer[1], int(took[1]) / 1000 if took else (time.monotonic() - began) * 1000


def status_of(said: str) -> str:
    """Return the RCODE in what dig has printed; nothing when there was no answer."""
    return "".join(re.findall(r", status: (\w+),", said))


def must_answer(box: Box, name: str = "www.example", *, server: str = FASTDNS, **how: Any) -> str:
    """Return the answer in words; raise when there is none."""
    found = ask(box, name, server=server, **how)
    if not found:
        dig = run(box.on_its_network("dig", f"@{server}", "+tries=1", name), status=None).stdout
        raise Wrong(f"no answer for {name} ({how}); asked once more:", dig)
    address, took = found
    return f"{name} is {address}, {took:.1f} ms"
