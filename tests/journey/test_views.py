"""Views: machines on a LAN are told by hardware address, name, prefix and hour."""

from __future__ import annotations

import contextlib
import json
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastdns._seen_clients import hash_of_view, read_seen
from fastdns.policy.views import narrow

from .support.client import eventually, make_query
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream
from .support.namespaces import Namespace, need_namespaces
from .support.sources import ask_from, connected

KID, GUEST = "02:00:00:00:00:01", "02:00:00:00:00:02"
LISTEN = ("0.0.0.0:53", "[::]:53")
ASKED = make_query("localhost", "A").to_wire()
Start = Callable[..., Fastdns]
ZONES = Path("/usr/share/zoneinfo")


class Home:
    """A box that serves a LAN, and a machine on it."""

    def __init__(self, box: Namespace, machine: Namespace, start: Start) -> None:
        self.box, self.machine, self._start = box, machine, start
        box.connect("lan", machine, "192.168.1.1/24", "2001:db8:1::1/64")
        machine.ip(
            *("link set eth0 down", f"link set eth0 address {KID}", "link set eth0 up"),
            *("addr add 192.168.1.20/24 dev eth0", "addr add 2001:db8:1::20/64 dev eth0 nodad"),
        )

        eventually(lambda: can_use(machine, near_of(machine)), bool)

    def serve(self, config: str, **options: Any) -> Fastdns:
        with self.box.inside():
            return self._start(**{"listen": LISTEN, "config": config} | options)

    def ask(self, source: str, *, tcp: bool = False) -> None:
        """Ask once from an address of the machine; there is an answer."""
        server = "192.168.1.1" if "." in source else "2001:db8:1::1"
        if source.startswith("fe80"):
            server = f"{self.box.link_local('lan')}%eth0"
        with self.machine.inside():
            assert ask_from(source, server, ASKED, tcp=tcp) is not None


def near_of(machine: Namespace) -> str:
    """Its link-local address; "": it has none yet."""
    with contextlib.suppress(AssertionError):
        return f"{machine.link_local('eth0')}%eth0"
    return ""


def can_use(machine: Namespace, address: str) -> bool:
    """Whether a machine can ask from a link-local address: that takes it a moment."""
    try:
        with machine.inside(), connected(address, address, 53, tcp=False):
            return True
    except OSError:
        return False


@pytest.fixture
def home(start_fastdns: Start) -> Iterator[Home]:
    need_namespaces()
    with Namespace() as box, Namespace() as machine:
        yield Home(box, machine, start_fastdns)


def views_of(daemon: Fastdns, *names: str) -> dict[str, str]:
    """By address, the view of its last query; "": none."""
    known = {hash_of_view(name): name for name in names} | {0: ""}
    return {
        str(narrow(row.address)): known[row.view]
        for file in (daemon.state_dir / "run").glob("clients.?")
        for row in read_seen(file)
    }


def clients(daemon: Fastdns, *arguments: str, home: Home | None = None) -> list[dict[str, Any]]:
    """What the command tells, in the network of the box."""
    configured = ["-c", str(daemon.state_dir.with_suffix(".toml"))]
    with home.box.inside() if home is not None else contextlib.nullcontext():
        state = ("--state", str(daemon.state_dir))
        done = fastdns("clients", "--json", *arguments, *configured, *state)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def view(name: str, *who: str, more: str = "") -> str:
    return f"[[view]]\nname = {json.dumps(name)}\nclients = {json.dumps(who)}\n{more}\n"


def test_machine_is_in_the_view_of_its_hardware_address_with_each_of_its_addresses(
    home: Home,
) -> None:
    daemon = home.serve(view("kids", KID) + view("others", "0.0.0.0/0", "::/0"))
    near = near_of(home.machine)
    for source in ("192.168.1.20", "2001:db8:1::20", near):
        home.ask(source)
        home.ask(source, tcp=True)
    for number in range(5):  # each new address asks a server whose hardware address is known
        home.machine.ip(f"addr add 2001:db8:1::{number + 100}/64 dev eth0 nodad")
        home.ask(f"2001:db8:1::{number + 100}")
    seen = views_of(daemon, "kids", "others")
    assert len(seen) == 8
    assert set(seen.values()) == {"kids"}
    (client,) = eventually(lambda: clients(daemon, home=home), lambda found: len(found) == 1)
    assert (client["mac"], client["view"], client["queries"]) == (KID, "kids", 11)
    assert len(client["addresses"]) == 8


def test_address_that_another_machine_takes_over_is_in_the_view_of_that(home: Home) -> None:
    daemon = home.serve(view("kids", KID) + view("guests", GUEST))
    home.ask("192.168.1.20")
    assert views_of(daemon, "kids", "guests") == {"192.168.1.20": "kids"}
    home.machine.ip("link set eth0 down", f"link set eth0 address {GUEST}", "link set eth0 up")
    home.ask("192.168.1.20")
    assert views_of(daemon, "kids", "guests") == {"192.168.1.20": "guests"}


def test_name_of_a_lease_stands_for_all_addresses_of_its_machine(
    home: Home, tmp_path: Path
) -> None:
    leases = tmp_path / "leases"
    ends = int(time.time()) + 3600
    leases.write_text(f"{ends} {KID} 192.168.1.20 tablet *\n")
    leases.chmod(0o644)
    tmp_path.chmod(0o755)
    local = f'[local]\nleases = ["dnsmasq:{leases}"]\n'
    daemon = home.serve(local + view("kids", "tablet") + view("lan", "192.168.1.0/24"))
    home.ask("2001:db8:1::20")
    home.ask("192.168.1.20")
    kids = {"2001:db8:1::20": "kids", "192.168.1.20": "kids"}

    def told() -> dict[str, str]:
        home.ask("2001:db8:1::20")
        home.ask("192.168.1.20")
        return views_of(daemon, "kids", "lan")

    eventually(told, kids.__eq__)
    (client,) = eventually(lambda: clients(daemon, home=home), lambda found: len(found) == 1)
    assert client["names"][0] == "tablet"
    leases.write_text(f"{ends} {KID} 192.168.1.20 laptop *\n")
    eventually(told, {"2001:db8:1::20": "", "192.168.1.20": "lan"}.__eq__)


def test_reverse_name_that_upstreams_have_names_a_client(home: Home) -> None:
    def answer(asked: Asked) -> None:
        asked.answer("@ 300 IN PTR Printer.example.")

    home.box.ip("addr add 45.0.0.1/24 dev lan")
    home.machine.ip("addr add 45.0.0.9/24 dev eth0")
    with contextlib.ExitStack() as ends:
        with home.box.inside():
            upstream = ends.enter_context(FalseUpstream(answer))
        daemon = home.serve(view("office", "printer.example"), upstream=[upstream])

        def told() -> dict[str, str]:
            with home.machine.inside():
                assert ask_from("45.0.0.9", "45.0.0.1", ASKED) is not None
            return views_of(daemon, "office")

        eventually(told, {"45.0.0.9": "office"}.__eq__)
        names = [str(asked.name) for asked in upstream.asked()]
        assert set(names) == {"9.0.0.45.in-addr.arpa."}
        (client,) = eventually(
            lambda: clients(daemon, home=home), lambda found: found[0]["name"] is not None
        )
        assert (client["name"], client["view"]) == ("printer.example", "office")


def test_address_beyond_the_lan_is_never_looked_for(home: Home) -> None:
    home.box.ip("route add 10.9.0.0/16 via 192.168.1.20")
    home.machine.ip("addr add 10.9.0.1/32 dev eth0")
    daemon = home.serve(
        '[access]\nallow = ["0.0.0.0/0", "::/0"]\n'
        + view("guests", GUEST)
        + view("far", "10.0.0.0/8")
    )
    home.ask("2001:db8:1::20")  # the machine knows the server, whose kernel need not ask it again
    home.machine.ip("addr add 2001:db8:1::66/64 dev eth0 nodad")
    far, near = "10.9.0.1", "2001:db8:1::66"
    with contextlib.ExitStack() as ends:
        probed = {}
        for address, family in ((far, socket.AF_INET), (near, socket.AF_INET6)):
            with home.machine.inside():
                probed[address] = ends.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            probed[address].bind((address, 9))
        home.ask(far)
        home.ask(near)
        probed[near].settimeout(10)
        assert probed[near].recv(100) == b""
        with pytest.raises(BlockingIOError):
            probed[far].recv(100, socket.MSG_DONTWAIT)
    assert views_of(daemon, "guests", "far")[far] == "far"


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no number of socket() for this machine"
)
def test_where_the_kernel_says_nothing_prefixes_and_leases_count_and_one_line_says_so(
    home: Home, tmp_path: Path
) -> None:
    sandbox = [sys.executable, str(Path(__file__).parent / "support" / "without_netlink.py")]
    leases = tmp_path / "leases"
    leases.write_text(f"0 {KID} 192.168.1.22 tablet *\n")
    tmp_path.chmod(0o755)
    daemon = home.serve(
        '[access]\nallow = ["192.168.0.0/16"]\n'
        + f'[local]\nleases = ["dnsmasq:{leases}"]\n'
        + view("kids", KID)
        + view("lan", "192.168.1.0/24")
        + view("one", "192.168.1.20"),
        prefix=sandbox,
        workers=2,
    )
    for number in (21, 22):
        home.machine.ip(f"addr add 192.168.1.{number}/24 dev eth0")
    for number in (20, 21, 22):
        home.ask(f"192.168.1.{number}")
    seen = views_of(daemon, "kids", "lan", "one")
    assert seen == {"192.168.1.20": "one", "192.168.1.21": "lan", "192.168.1.22": "kids"}
    assert len([line for line in daemon.log if "netlink" in line]) == 1


# ---- hours: a change of the time zone has the clocks of the machine show another hour


@pytest.fixture
def localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the clocks of the machine so many hours ahead of UTC."""
    file = tmp_path / "localtime"

    def turn(hours: int) -> None:
        (tmp_path / "new").symlink_to(ZONES / f"Etc/GMT{-hours:+d}" if hours else ZONES / "UTC")
        (tmp_path / "new").rename(file)

    turn(0)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("TZ", f":{file}")
    return turn


def test_day_of_a_household(start_fastdns: Start, localtime: Callable[[int], None]) -> None:
    """The view of the night and that of the afternoon come into force as the clocks advance."""
    now = time.gmtime()

    def hours(first: int, end: int) -> str:
        """Hours from now on, by a clock that shows UTC now."""
        return f'when = "{(now.tm_hour + first) % 24:02}:00-{(now.tm_hour + end) % 24:02}:00"'

    # Should the hour end during this test, the next one counts in the same way.
    daemon = start_fastdns(
        listen=["127.0.0.1:0"],
        config=view("night", "127.0.0.2", "127.0.0.3", more=hours(3, 6))
        + view("homework", "127.0.0.2", more=hours(2, 4))
        + view("house", "127.0.0.0/8"),
        workers=2,
    )

    def told() -> dict[str, str]:
        for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            for _ in range(4):  # both workers
                assert ask_from(source, daemon.host, ASKED, port=daemon.port) is not None
        return views_of(daemon, "night", "homework", "house")

    for ahead, kid, teenager in (
        (0, "house", "house"),
        (2, "homework", "house"),
        (4, "night", "night"),
        (7, "house", "house"),
        (4, "night", "night"),
    ):
        localtime(ahead)
        expected = {"127.0.0.2": kid, "127.0.0.3": teenager, "127.0.0.4": "house"}
        eventually(told, expected.__eq__)
    daemon.wait_for_log("INFO: views in force: night, house")


def test_reload_uses_the_views_of_the_new_configuration(start_fastdns: Start) -> None:
    daemon = start_fastdns(config=view("kids", "127.0.0.2") + view("house", "127.0.0.0/8"))

    def told() -> dict[str, str]:
        for source in ("127.0.0.2", "127.0.0.3"):
            assert ask_from(source, daemon.host, ASKED, port=daemon.port) is not None
        return {one["addresses"][0]: one["view"] for one in clients(daemon)}

    assert told() == {"127.0.0.2": "kids", "127.0.0.3": "house"}
    file = daemon.state_dir.with_suffix(".toml")
    file.write_text(view("house", "127.0.0.0/8") + view("guests", "127.0.0.3"))
    assert daemon.reload().returncode == 0
    # The table knows whole seconds: which worker has seen a client last shows in the next one.
    eventually(told, lambda found: found == {"127.0.0.2": "house", "127.0.0.3": "guests"})


# ---- the command


def test_clients_are_told_with_what_they_have_asked_busiest_first(start_fastdns: Start) -> None:
    daemon = start_fastdns(
        config='[local]\nrecords = ["tablet.demo. A 127.0.0.2", "2.0.0.127.in-addr.arpa. PTR '
        'tablet.demo."]\n' + view("kids", "127.0.0.2")
    )
    for source, times in (("127.0.0.3", 1), ("127.0.0.2", 3)):
        for _ in range(times):
            ask_from(source, daemon.host, ASKED, port=daemon.port)
    first, second = clients(daemon)
    assert (first["name"], first["addresses"], first["view"], first["queries"]) == (
        *("tablet.demo", ["127.0.0.2"], "kids", 3),
    )
    assert (second["name"], second["view"], second["queries"]) == (None, None, 1)
    assert abs(first["last_seen"] - time.time()) < 60
    assert [one["addresses"] for one in clients(daemon, "--view", "kids")] == [["127.0.0.2"]]
    done = fastdns(
        *("clients", "-c", str(daemon.state_dir.with_suffix(".toml"))),
        *("--state", str(daemon.state_dir)),
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:2] == ["client", "address"]
    assert lines[1][:5] == ["tablet.demo", "127.0.0.2", "-", "kids", "3"]
    assert lines[2][:5] == ["-", "127.0.0.3", "-", "-", "1"]
    assert lines[2][-1] == "ago"


def test_clients_say_whom_a_rate_limit_would_meet_in_a_dry_run(start_fastdns: Start) -> None:
    limit = "[access]\nrate_limit = 1\nrate_exempt = []\nrate_dry_run = true\n"
    daemon = start_fastdns(config=limit + view("kids", "127.0.0.2"))
    for _ in range(20):
        assert ask_from("127.0.0.2", daemon.host, ASKED, port=daemon.port) is not None
    (client,) = clients(daemon)
    assert client["queries"] == 20
    assert 0 < client["limited"] <= 20


def test_clients_of_a_stopped_daemon_are_still_told(start_fastdns: Start) -> None:
    daemon = start_fastdns(config=view("kids", "127.0.0.2"))
    ask_from("127.0.0.2", daemon.host, ASKED, port=daemon.port)
    daemon.stop()
    assert [one["view"] for one in clients(daemon)] == ["kids"]


def test_bad_use_of_clients_is_one_line(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    done = fastdns("clients", *state)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastdns: no daemon has noted clients in ")
    done = fastdns("clients", "--view", "kids", *state)
    assert done.returncode == 2
    assert '"kids" is not a view (there is none)' in done.stderr


def test_why_names_the_view_of_a_client_and_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "fastdns.toml"
    file.write_text(
        '[local]\nrecords = ["tablet. A 127.0.0.7"]\n'
        + view("kids", "tablet", KID)
        + view("house", "127.0.0.0/8")
        + view("never", "127.0.0.9", more='when = "Mon 00:00-00:01"')
        + view("phones", "doh:phone", "tls:phone.dns.demo")
    )

    notes: list[str] = []

    def told(who: str) -> tuple[str | None, str | None]:
        done = fastdns(
            *("why", "www.demo", "--client", who, "--json"),
            *("-c", str(file), "--state", str(tmp_path / "state")),
        )
        story = json.loads(done.stdout)
        client, notes[:] = story["client"], story["notes"]
        return client["view"], client["view_reason"]

    of_house = 'view[1].clients has "127.0.0.0/8"'
    assert told("tablet") == told("127.0.0.7") == ("kids", 'view[0].clients has "tablet"')
    assert told(KID.upper()) == ("kids", f'view[0].clients has "{KID}"')
    assert told("127.0.0.8") == ("house", of_house)
    assert told("192.0.2.1") == (None, None)
    assert told("doh:phone") == ("phones", 'view[3].clients has "doh:phone"')
    assert told("tls:Phone.dns.demo")[0] == "phones"
    assert not any("no view has" in one for one in notes)
    assert told("tls:other.dns.demo") == told("doh:phone.dns.demo") == (None, None)
    assert any(one.startswith('no view has "doh:phone.dns.demo" in its clients') for one in notes)
    name, reason = told("127.0.0.9")
    if name == "house":  # else this is the first minute of a week
        assert reason == "never is not in force now (Mon 00:00-00:01)"
    done = fastdns("why", "www.demo", "--client", "laptop", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert done.stderr == 'fastdns: "laptop" is nobody\'s name here (try an address)\n'
