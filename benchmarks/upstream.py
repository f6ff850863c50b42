"""The upstream of all servers under test: nsd with the zone bench.demo, for the run only."""

import os
import shutil
from pathlib import Path

from processes import BenchmarkError, Server, free_port

ZONE = "bench.demo"
MISS_ZONE = f"miss.{ZONE}"  # a wildcard: any name under it exists
STORED_ZONE = f"stored.{ZONE}"  # another; what stock.py puts on disk is no answer of nsd's
MOST_NAMES = 100_000

CONFIG = """\
server:
    server-count: 1
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: ""
    zonelistfile: "{directory}/zone.list"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    minimal-responses: yes
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "{zone}"
    zonefile: "zone"
"""

ZONE_HEAD = f"""\
$ORIGIN {ZONE}.
$TTL 3600
@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 3600 900 604800 300
@ NS ns.{ZONE}.
ns A 127.0.0.1
*.miss A 10.255.0.1
*.stored A 10.254.0.1
"""


def find(program: str) -> str | None:
    """Return the path of a daemon, also for a user whose PATH leaves out the sbin directories."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def start(directory: Path, core: int, names: int) -> Server:
    """Return nsd, answering, with h00000 … in its zone."""
    program = find("nsd")
    if program is None:
        raise BenchmarkError("no nsd: install it (apt install nsd)")
    directory.mkdir()
    port = free_port()
    config = directory / "nsd.conf"
    config.write_text(CONFIG.format(port=port, directory=directory, zone=ZONE))
    hosts = (f"h{i:05} A 10.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(names))
    (directory / "zone").write_text(ZONE_HEAD + "".join(hosts))
    command = [program, "-d", "-c", str(config)]
    return Server("nsd", command, port, core, directory / "log")
