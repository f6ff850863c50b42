"""The servers under test, one entry each, with the best sensible settings of each.

For all of them: one thread, on one core; forwarding to nsd over UDP; no DNSSEC validation, as nsd's
zone is not signed; no log of queries; a cache that holds all that is asked. And never a packet to
anything but this machine: no root hints, no trust anchors to follow, no version to look up.

To add a peer: a function that writes its configuration into `place.directory` and returns its
command line (in the foreground, listening on 127.0.0.1:place.port, forwarding to
127.0.0.1:place.upstream, with a cache for place.answers), and an entry in PEERS. If it has DoT and
DoH (`encrypted`), it listens for them where place.encrypted says.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tools
import upstream

SCRIPTS = Path(sys.executable).parent
BASELINE = Path(__file__).with_name("baseline_dnslib.py")


@dataclass(frozen=True)
class Encrypted:
    """Where a server offers DoT and DoH, and with which certificate."""

    tls: int  # the port of each
    https: int
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Place:
    directory: Path
    memory: Path  # a directory in a tmpfs, where there is one
    port: int
    upstream: int
    answers: int  # that the cache has room for
    encrypted: Encrypted | None = None


@dataclass(frozen=True)
class Peer:
    """One server: where it is, how it is started, and which scenarios it takes part in."""

    name: str
    program: Callable[[], str | None]
    command: Callable[..., list[str]]  # of the program and a Place
    version: Callable[[str], str]
    forwards: bool = True  # can be asked for names that it does not know
    paced: bool = True  # answers the least rate of the scenario latency
    tcp: bool = True  # answers on connections that stay open
    encrypted: bool = False  # has DoT and DoH
    keeper: bool = False  # is fastdns: another process of it writes to disk, later
    large: bool = True  # fast enough to be asked hundreds of thousands of names
    share: float = 1.0  # of --seconds: a slow one shows its figure sooner


def first_line(*arguments: str) -> Callable[[str], str]:
    """Return a function that runs a program so and returns the first line that it prints."""

    def run(program: str) -> str:
        result = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=False, timeout=30
        )
        return ((result.stdout or result.stderr).strip().splitlines() or ["unknown"])[0]

    return run


def floor(program: str, place: Place) -> list[str]:
    return [program, str(place.port)]


FASTDNS = """\
[cache]
memory = "{memory}MiB"
disk = "{disk}MiB"
"""
FASTDNS_ENCRYPTED = """\
[listen]
tls = ["127.0.0.1:{0.tls}"]
https = ["127.0.0.1:{0.https}"]
certificate = "{0.certificate}"
key = "{0.key}"
"""


def fastdns(_program: str, place: Place, workers: int = 1) -> list[str]:
    """With its defaults as long as those hold the answers."""
    config = place.directory / "fastdns.toml"
    memory, disk = (place.answers * octets >> 20 for octets in (320, 640))
    more = FASTDNS_ENCRYPTED.format(place.encrypted) if place.encrypted else ""
    config.write_text(FASTDNS.format(memory=max(memory, 64), disk=max(disk, 256)) + more)
    return [
        *(*own_command(), "serve", "--workers", str(workers), "-c", str(config)),
        *("--state", str(place.directory / "state")),
        *("--listen", f"127.0.0.1:{place.port}", "--upstream", f"127.0.0.1:{place.upstream}"),
    ]


DNSDIST = """\
setSecurityPollSuffix("")  -- it would ask the Internet whether its version is safe
setLocal("127.0.0.1:{place.port}", {{maxInFlight=64}})
setACL({{"127.0.0.0/8"}})
setMaxUDPOutstanding(65535)
setMaxTCPClientThreads(1)
setMaxTCPQueuedConnections(4096)
setTCPRecvTimeout(60)
setUDPMultipleMessagesVectorSize({vector})
newServer({{address="127.0.0.1:{place.upstream}", checkName="h00000.{zone}."}})
getPool(""):setCache(newPacketCache({place.answers}, {{maxTTL=86400}}))
"""
DNSDIST_ENCRYPTED = """\
addTLSLocal("127.0.0.1:{0.tls}", "{0.certificate}", "{0.key}", {{maxInFlight=256}})
addDOHLocal("127.0.0.1:{0.https}", "{0.certificate}", "{0.key}", "/dns-query")
"""


def dnsdist(program: str, place: Place, vector: int = 100) -> list[str]:
    config = place.directory / "dnsdist.conf"
    more = DNSDIST_ENCRYPTED.format(place.encrypted) if place.encrypted else ""
    config.write_text(DNSDIST.format(place=place, zone=upstream.ZONE, vector=vector) + more)
    return [program, "--supervised", "--disable-syslog", "-C", str(config)]


def dnsmasq(program: str, place: Place) -> list[str]:
    """As a router has it: one process, which opens a socket for each of its questions."""
    return [
        *(program, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user="),
        *("--log-facility=-", "--listen-address=127.0.0.1", "--bind-interfaces"),
        *(f"--port={place.port}", "--no-resolv", "--no-hosts", "--no-poll"),
        *(f"--server=127.0.0.1#{place.upstream}", f"--cache-size={place.answers}"),
        *("--dns-forward-max=10000", "--edns-packet-max=1232"),
    ]


UNBOUND = """\
server:
    num-threads: 1
    interface: 127.0.0.1
    port: {place.port}
    access-control: 127.0.0.0/8 allow
    outgoing-interface: 127.0.0.1
    do-not-query-localhost: no
    do-ip6: no
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{place.directory}"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    local-zone: "test." transparent
    minimal-responses: yes
    qname-minimisation: no
    msg-cache-size: {octets}
    rrset-cache-size: {octets}
    msg-cache-slabs: 1
    rrset-cache-slabs: 1
    infra-cache-slabs: 1
    key-cache-slabs: 1
    outgoing-range: 8192
    num-queries-per-thread: 4096
    incoming-num-tcp: 256
    so-rcvbuf: 4m
    so-sndbuf: 4m
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{place.upstream}
"""
UNBOUND_ENCRYPTED = """\
server:
    interface: 127.0.0.1@{0.tls}
    interface: 127.0.0.1@{0.https}
    tls-port: {0.tls}
    https-port: {0.https}
    tls-service-pem: "{0.certificate}"
    tls-service-key: "{0.key}"
    incoming-num-tcp: 4200  # it shortens their time from half of it on
"""


def unbound(program: str, place: Place) -> list[str]:
    config = place.directory / "unbound.conf"
    more = UNBOUND_ENCRYPTED.format(place.encrypted) if place.encrypted else ""
    config.write_text(UNBOUND.format(place=place, octets=place.answers * 600) + more)
    return [program, "-d", "-c", str(config)]


KRESD = """\
log_level("err")
for _, name in ipairs({{"ta_update", "ta_signal_query", "priming", "detect_time_skew"}}) do
    modules.unload(name)
end
net.ipv6 = false
net.outgoing_v4("127.0.0.1")
net.listen("127.0.0.1", {place.port}, {{kind = "dns"}})
cache.open({octets}, "lmdb://{place.memory}")
cache.min_ttl(3600)  -- without it, what STUB brings is kept for five seconds
policy.add(policy.all(policy.STUB({{"127.0.0.1@{place.upstream}"}})))
"""


def kresd(program: str, place: Place) -> list[str]:
    """Its cache in a tmpfs, as its manual has it; STUB, because nothing is signed."""
    config = place.directory / "kresd.conf"
    config.write_text(KRESD.format(place=place, octets=max(place.answers * 600, 64 << 20)))
    return [program, "--noninteractive", "--config", str(config), str(place.directory)]


RECURSOR = """\
local-address=127.0.0.1
local-port={place.port}
query-local-address=127.0.0.1
allow-from=127.0.0.0/8
dont-query=
forward-zones=.=127.0.0.1:{place.upstream}
dnssec=off
qname-minimization=no
threads=1
pdns-distributes-queries=no
security-poll-suffix=
hint-file=no
socket-dir={place.directory}
config-dir={place.directory}
write-pid=no
disable-syslog=yes
quiet=yes
loglevel=3
max-cache-entries={place.answers}
max-packetcache-entries={place.answers}
packetcache-ttl=86400
max-mthreads=8192
max-tcp-per-client=0
max-concurrent-requests-per-tcp-connection=64
"""


def recursor(program: str, place: Place) -> list[str]:
    (place.directory / "recursor.conf").write_text(RECURSOR.format(place=place))
    return [program, f"--config-dir={place.directory}"]


SMARTDNS = """\
bind 127.0.0.1:{place.port}
bind-tcp 127.0.0.1:{place.port}
server 127.0.0.1:{place.upstream}
cache-size {place.answers}
cache-persist no
speed-check-mode none
dualstack-ip-selection no
prefetch-domain no
serve-expired no
log-level error
log-file {place.directory}/smartdns.log
audit-enable no
"""


def smartdns(program: str, place: Place) -> list[str]:
    """Without what it is known for: it does not look which of several addresses is near.

    Nor with its response-mode fastest-response, which keeps an answer for three seconds.
    """
    config = place.directory / "smartdns.conf"
    config.write_text(SMARTDNS.format(place=place))
    return [program, "-f", "-c", str(config), "-p", "-"]


def baseline(program: str, place: Place) -> list[str]:
    upstreams = place.directory / "ip"
    upstreams.write_text(f"127.0.0.1:{place.upstream}\n")
    listen = f"127.0.0.1:{place.port}"
    return [program, str(BASELINE), "--listen", listen, "--upstreams", str(upstreams)]


def own_command() -> list[str]:
    """Return how fastdns is started here: by its script, or by Python where none is installed."""
    script = SCRIPTS / "fastdns"
    found = str(script) if script.exists() else upstream.find("fastdns")
    return [found] if found else [sys.executable, "-m", "fastdns"]


VERSIONS = "import sys, dnslib, gevent; print('Python', sys.version.split()[0]" + (
    ", 'dnslib', dnslib.version, 'gevent', gevent.__version__)"
)


def daemon(name: str) -> Callable[[], str | None]:
    return lambda: upstream.find(name)


PEERS = (
    Peer(
        "floor",
        program=lambda: str(tools.build("floor")),
        command=floor,
        version=lambda _: " ".join(tools.COMPILE),
        forwards=False,
        tcp=False,
    ),
    Peer(
        "fastdns",
        program=lambda: own_command()[0],
        command=fastdns,
        version=lambda _: first_line(*own_command()[1:], "--version")(own_command()[0]),
        encrypted=True,
        keeper=True,
    ),
    Peer(
        "dnsdist",
        program=daemon("dnsdist"),
        command=dnsdist,
        version=first_line("--version"),
        encrypted=True,
    ),
    Peer(
        "dnsdist-1",  # as it comes: packets one by one
        program=daemon("dnsdist"),
        command=partial(dnsdist, vector=1),
        version=first_line("--version"),
    ),
    Peer(
        "dnsmasq",
        program=daemon("dnsmasq"),
        command=dnsmasq,
        version=first_line("--version"),
        tcp=False,  # forks a process for each connection
    ),
    Peer(
        "unbound",
        program=daemon("unbound"),
        command=unbound,
        version=first_line("-V"),
        encrypted=True,
    ),
    Peer("kresd", program=daemon("kresd"), command=kresd, version=first_line("-V")),
    Peer(
        "recursor",
        program=daemon("pdns_recursor"),
        command=recursor,
        version=first_line("--version"),
    ),
    Peer("smartdns", program=daemon("smartdns"), command=smartdns, version=first_line("-v")),
    Peer(
        "baseline",
        program=lambda: sys.executable,
        command=baseline,
        version=first_line("-c", VERSIONS),
        paced=False,
        tcp=False,
        large=False,
        share=0.5,
    ),
)
