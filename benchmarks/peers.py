"""The servers under test, one entry each.

To add a peer: a function that writes its configuration into `place.directory` and returns its
command line (in the foreground, listening on 127.0.0.1:place.port, forwarding to
127.0.0.1:place.upstream, one thread, a cache that holds all names), and an entry in PEERS.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tools
import upstream

SCRIPTS = Path(sys.executable).parent
BASELINE = Path(__file__).with_name("baseline_dnslib.py")


@dataclass(frozen=True)
class Place:
    directory: Path
    port: int
    upstream: int


@dataclass(frozen=True)
class Peer:
    """One server: where it is, how it is started, and which scenarios it takes part in."""

    name: str
    program: Callable[[], str | None]
    command: Callable[[str, Place], list[str]]
    version: Callable[[str], str]
    forwards: bool = True  # can be asked for names that it does not know
    paced: bool = True  # answers the rate of the scenario latency
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


def fastdns(program: str, place: Place) -> list[str]:
    return [
        *(program, "serve", "--workers", "1", "--state", str(place.directory / "state")),
        *("--listen", f"127.0.0.1:{place.port}", "--upstream", f"127.0.0.1:{place.upstream}"),
    ]


DNSDIST = """\
setSecurityPollSuffix("")  -- it would ask the Internet whether its version is safe
setLocal("127.0.0.1:{place.port}")
setACL({{"127.0.0.0/8"}})
setMaxUDPOutstanding(65535)
setUDPMultipleMessagesVectorSize(100)
newServer({{address="127.0.0.1:{place.upstream}", checkName="h00000.{zone}."}})
getPool(""):setCache(newPacketCache(200000, {{maxTTL=86400}}))
"""


def dnsdist(program: str, place: Place) -> list[str]:
    config = place.directory / "dnsdist.conf"
    config.write_text(DNSDIST.format(place=place, zone=upstream.ZONE))
    return [program, "--supervised", "--disable-syslog", "-C", str(config)]


def baseline(program: str, place: Place) -> list[str]:
    upstreams = place.directory / "ip"
    upstreams.write_text(f"127.0.0.1:{place.upstream}\n")
    listen = f"127.0.0.1:{place.port}"
    return [program, str(BASELINE), "--listen", listen, "--upstreams", str(upstreams)]


def own_script() -> str | None:
    script = SCRIPTS / "fastdns"
    return str(script) if script.exists() else upstream.find("fastdns")


VERSIONS = "import sys, dnslib, gevent; print('Python', sys.version.split()[0]" + (
    ", 'dnslib', dnslib.version, 'gevent', gevent.__version__)"
)

PEERS = (
    Peer(
        "floor",
        program=lambda: str(tools.build("floor")),
        command=floor,
        version=lambda _: " ".join(tools.COMPILE),
        forwards=False,
    ),
    Peer("fastdns", program=own_script, command=fastdns, version=first_line("--version")),
    Peer(
        "dnsdist",
        program=lambda: upstream.find("dnsdist"),
        command=dnsdist,
        version=first_line("--version"),
    ),
    Peer(
        "baseline",
        program=lambda: sys.executable,
        command=baseline,
        version=first_line("-c", VERSIONS),
        paced=False,
        share=0.5,
    ),
)
