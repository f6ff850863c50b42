"""The owner's names from all their sources, and how they follow the files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import dns.name
import dns.reversename
import gevent
import pytest
from gevent.event import Event

from fastdns.config.load import load
from fastdns.config.names import parse_name
from fastdns.config.schema import Local
from fastdns.policy import watch
from fastdns.policy.changes import changes_of_local
from fastdns.policy.local import LocalSources

NOW = 1767320000.0
END = NOW + 3600
PTR = 12


@pytest.fixture
def section(tmp_path: Path) -> Callable[[str], Local]:
    """Return the [local] table of a configuration, in which DIR is a directory of its own."""

    def load_text(text: str) -> Local:
        file = tmp_path / "fastdns.toml"
        file.write_text("[local]\n" + text.replace("DIR", str(tmp_path)))
        return load(file, state=tmp_path / "state").local

    return load_text


def told(local: LocalSources, name: str) -> list[str]:
    """Return the addresses of a name, or the names of an address."""
    if name.replace(".", "").isdecimal() or ":" in name:
        name = str(dns.reversename.from_address(name))
    found = local.records.find(parse_name(name))
    return [
        str(dns.name.from_wire(data, 0)[0]) if rtype == PTR else str(ip_address(data))
        for rtype, _, data, _ in (found[2] if found else [])
    ]


def place_of(local: LocalSources, name: str) -> str:
    """Return where the first record of a name was written."""
    found = local.records.find(parse_name(name))
    assert found is not None
    source, line = local.names.place_of(found[2][0][3])
    return source if line is None else f"{source}:{line}"


def ttl_of(local: LocalSources, name: str) -> int:
    found = local.records.find(parse_name(name))
    assert found is not None
    return found[2][0][1]


def lease(expires: float, address: str, name: str) -> str:
    return f"{expires:.0f} aa:bb:cc:dd:ee:ff {address} {name} *\n"


def test_without_sources_there_are_no_names(section: Callable[[str], Local]) -> None:
    local = LocalSources(section(""))

    assert (len(local.records), local.problems, local.summary()) == (0, (), "0 names")
    assert not local.refresh()
    assert local.seconds_to_next_end() is None


def test_names_come_from_records_hosts_and_leases(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    (tmp_path / "zone").write_text("$ORIGIN lan.\n\nweb A 192.168.1.12\n")
    (tmp_path / "hosts").write_text("192.168.1.10 nas\n")
    (tmp_path / "leases").write_text(lease(END, "192.168.1.20", "laptop"))

    local = LocalSources(
        section(
            'domain = "lan"\nhosts = ["DIR/hosts"]\nleases = ["DIR/leases"]\n'
            'records = ["x.lan. A 192.168.1.11", "y.lan. A 192.168.1.13", "file:DIR/zone"]\n'
        )
    )
    local.refresh(NOW)

    assert local.problems == ()
    assert told(local, "x.lan") == ["192.168.1.11"]
    assert told(local, "web.lan") == ["192.168.1.12"]
    assert told(local, "nas.lan") == told(local, "nas") == ["192.168.1.10"]
    assert told(local, "192.168.1.10") == ["nas.lan."]
    assert local.summary() == "5 names in 3 files"
    assert told(local, "laptop.lan") == ["192.168.1.20"]
    assert place_of(local, "y.lan") == "local.records[1]"
    assert place_of(local, "web.lan") == f"{tmp_path}/zone:3"
    assert place_of(local, "nas.lan") == f"{tmp_path}/hosts:1"
    assert local.counts == {
        "local.records": 2,
        f"{tmp_path}/zone": 1,
        f"{tmp_path}/hosts": 1,
        f"{tmp_path}/leases": 1,
    }
    assert local.sources == (
        "local.records",
        *(f"{tmp_path}/{name}" for name in ("zone", "hosts", "leases")),
    )


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def local(section: Callable[[str], Local], leases: Path) -> LocalSources:
    """The names of one file of leases; nobody has one yet."""
    leases.touch()
    sources = LocalSources(section('domain = "lan"\nleases = ["dnsmasq:DIR/leases"]\n'))
    sources.refresh(NOW)
    return sources


def test_client_is_found_alone_and_under_the_domain_and_by_its_address(
    local: LocalSources, leases: Path
) -> None:
    leases.write_text(
        lease(END, "192.168.1.20", "Laptop")
        + "duid 00\n"
        + lease(END, "fd00::20", "laptop").replace("aa:bb:cc:dd:ee:ff", "1449")
    )

    assert local.refresh(NOW)

    assert told(local, "laptop.lan") == told(local, "laptop") == ["192.168.1.20", "fd00::20"]
    assert told(local, "192.168.1.20") == told(local, "fd00::20") == ["laptop.lan."]
    assert ttl_of(local, "laptop.lan") == 60
    assert place_of(local, "laptop.lan") == f"{leases}:1"
    assert local.summary() == "1 name in 1 file"


def test_without_a_domain_a_client_is_found_alone(
    section: Callable[[str], Local], leases: Path
) -> None:
    leases.write_text(lease(END, "192.168.1.20", "laptop") + lease(END, "192.168.1.21", "com"))

    local = LocalSources(section('leases = ["DIR/leases"]'))
    local.refresh(NOW)

    assert told(local, "laptop") == ["192.168.1.20"]
    assert told(local, "192.168.1.20") == ["laptop."]
    assert told(local, "com") == told(local, "192.168.1.21") == []


def test_name_ends_with_its_lease_and_its_ttl_not_later(local: LocalSources, leases: Path) -> None:
    leases.write_text(lease(END, "192.168.1.20", "laptop"))
    local.refresh(NOW)
    assert local.seconds_to_next_end(NOW) == 3540

    assert not local.refresh(END - 61)
    assert ttl_of(local, "laptop.lan") == 60
    assert local.refresh(END - 60)
    assert ttl_of(local, "laptop.lan") == 1
    assert local.seconds_to_next_end(END - 60) == 60
    assert not local.refresh(END - 1)

    assert local.refresh(END)
    assert told(local, "laptop.lan") == told(local, "192.168.1.20") == []
    assert local.seconds_to_next_end(END) is None


def test_renewed_lease_changes_nothing_but_its_end(local: LocalSources, leases: Path) -> None:
    leases.write_text(lease(END, "192.168.1.20", "laptop"))
    local.refresh(NOW)
    records = local.records

    leases.write_text(lease(END + 1000, "192.168.1.20", "laptop"))

    assert not local.refresh(NOW)
    assert local.records is records
    assert local.seconds_to_next_end(NOW) == 3600  # the clock is looked at by then
    assert not local.refresh(END)
    assert told(local, "laptop.lan") == ["192.168.1.20"]


def test_released_lease_has_no_name(local: LocalSources, leases: Path) -> None:
    leases.write_text(lease(END, "192.168.1.20", "laptop") + lease(END, "192.168.1.21", "phone"))
    local.refresh(NOW)

    leases.write_text(lease(END, "192.168.1.21", "phone"))

    assert local.refresh(NOW)
    assert told(local, "laptop.lan") == []
    assert told(local, "phone.lan") == ["192.168.1.21"]


def test_half_written_file_is_read_again_when_it_is_whole(
    local: LocalSources, leases: Path
) -> None:
    text = lease(END, "192.168.1.2", "laptop") + lease(END, "192.168.1.21", "phone")
    leases.write_text(text)
    local.refresh(NOW)

    leases.write_text(text[: text.index("phone") + 2])  # the last line would be another name
    local.refresh(NOW)
    assert told(local, "laptop.lan") == ["192.168.1.2"]
    assert told(local, "ph.lan") == []
    leases.write_text(text)

    assert local.refresh(NOW)
    assert told(local, "phone.lan") == ["192.168.1.21"]


def test_of_two_clients_with_one_name_the_newer_lease_has_it(
    local: LocalSources, leases: Path
) -> None:
    leases.write_text(
        lease(END, "192.168.1.20", "laptop")
        + lease(END + 100, "192.168.1.21", "laptop")
        + lease(END + 50, "192.168.1.22", "laptop")
    )

    local.refresh(NOW)

    assert told(local, "laptop.lan") == ["192.168.1.21"]
    assert told(local, "192.168.1.20") == []


@pytest.mark.parametrize("name", ["wpad", "isatap", "localhost", "-x", "a*b", "*"])
def test_client_gets_no_name_that_it_may_not_have(
    local: LocalSources, leases: Path, name: str
) -> None:
    leases.write_text(lease(END, "192.168.1.20", name) + lease(END, "192.168.1.21", "laptop"))

    local.refresh(NOW)

    assert told(local, f"{name}.lan".replace("*", "\\042")) == told(local, "192.168.1.20") == []
    assert len(local.records) == 3


def test_leases_without_a_name_are_told_with_the_reason(
    section: Callable[[str], Local], tmp_path: Path, leases: Path
) -> None:
    (tmp_path / "hosts").write_text("192.168.1.10 nas\n192.168.1.11 tv-box\n")
    leases.write_text(
        lease(0, "192.168.1.66", "nas")
        + "hello\n"
        + lease(0, "192.168.1.67", "WPAD")
        + lease(0, "192.168.1.68", "Big_Name!")
        + lease(0, "192.168.1.69", "www")
        + lease(0, "192.168.1.11", "tv-box")  # it has that name
        + lease(1_600_000_000, "192.168.1.70", "isatap")  # its lease is over
    )

    local = LocalSources(
        section(
            'domain = "lan"\nhosts = ["DIR/hosts"]\nleases = ["dnsmasq:DIR/leases"]\n'
            'records = ["www.lan. A 192.168.1.9"]\n'
        )
    )

    assert local.problems == (f'{leases}:2: "hello" is not a lease of dnsmasq',)
    assert local.left_out == (
        f'{leases}:1: the client "nas" gets no name: {tmp_path}/hosts:1 has that name',
        f'{leases}:3: the client "WPAD" gets no name: programs look for that name by themselves',
        f'{leases}:4: the client "Big_Name!" gets no name: that is not a host name',
        f'{leases}:5: the client "www" gets no name: local.records[0] has that name',
    )
    assert local.counts == {"local.records": 1, f"{tmp_path}/hosts": 2, str(leases): 0}
    assert local.finds_no_leases is False


def test_client_that_comes_without_a_name_is_told_and_no_flood_of_them(
    local: LocalSources, leases: Path
) -> None:
    assert local.left_out == ()
    leases.write_text(lease(END, "192.168.1.20", "wpad"))
    assert local.refresh(NOW)
    assert len(local.left_out) == 1
    assert not local.refresh(NOW)

    leases.write_text(
        "".join(lease(END, f"10.0.{at >> 8}.{at & 255}", f"{at}!") for at in range(1000))
    )
    assert local.refresh(NOW)
    assert len(local.left_out) == 11
    assert local.left_out[-1] == f"{leases}: 990 more clients get no name"


def test_auto_that_finds_no_leases_is_known(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    local = LocalSources(section('leases = ["auto", "DIR/*.leases"]'), root=tmp_path)
    assert local.finds_no_leases
    (tmp_path / "var/lib/misc").mkdir(parents=True)
    (tmp_path / "var/lib/misc/dnsmasq.leases").touch()
    assert not local.finds_no_leases


@pytest.mark.parametrize("name", ["com", "tv", "lan", "arpa"])
def test_client_is_no_domain_of_the_internet(local: LocalSources, leases: Path, name: str) -> None:
    leases.write_text(lease(END, "192.168.1.20", name))

    local.refresh(NOW)

    assert told(local, name) == []
    assert told(local, f"{name}.lan") == ["192.168.1.20"]


def test_client_gets_no_name_that_the_owner_has_given(
    section: Callable[[str], Local], tmp_path: Path, leases: Path
) -> None:
    (tmp_path / "hosts").write_text("192.168.1.10 nas\n")
    leases.write_text(
        lease(0, "192.168.1.66", "nas")
        + lease(0, "192.168.1.67", "www")
        + lease(0, "192.168.1.68", "tv4")
        + lease(0, "192.168.1.10", "phone")
    )

    local = LocalSources(
        section(
            'domain = "lan"\nhosts = ["DIR/hosts"]\nleases = ["dnsmasq:DIR/leases"]\n'
            'records = ["www.lan. CNAME nas.lan.", "tv4 TXT x"]\n'
        )
    )

    assert told(local, "phone.lan") == ["192.168.1.10"]
    assert told(local, "nas.lan") == told(local, "nas") == ["192.168.1.10"]
    for address in ("192.168.1.66", "192.168.1.67", "192.168.1.68"):
        assert told(local, address) == []
    assert told(local, "192.168.1.10") == ["nas.lan."]


def test_hosts_file_that_changes_is_read_again(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    local = LocalSources(section('hosts = ["DIR/hosts"]'))
    assert not local.refresh()

    hosts.write_text("192.168.1.11 nas\n")

    assert local.refresh()
    assert told(local, "nas") == ["192.168.1.11"]
    assert not local.refresh()


def test_file_that_is_gone_keeps_its_names_and_is_told_once(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    local = LocalSources(section('hosts = ["DIR/hosts"]'))
    hosts.rename(tmp_path / "other")

    assert local.refresh()
    assert told(local, "nas") == ["192.168.1.10"]
    assert local.problems == (
        f"{hosts}: cannot be read: No such file or directory; its former names stay in use",
    )
    assert not local.refresh()

    hosts.write_text("192.168.1.11 nas\n")
    assert local.refresh()
    assert (told(local, "nas"), local.problems) == (["192.168.1.11"], ())


def test_file_that_cannot_be_read_at_a_reload_keeps_its_names(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    former = LocalSources(section('hosts = ["DIR/hosts"]'))
    hosts.unlink()

    local = former.renewed(section('domain = "lan"\nhosts = ["DIR/hosts"]'))

    assert told(local, "nas.lan") == ["192.168.1.10"]
    assert told(former, "nas.lan") == []


def test_reload_with_the_same_table_compiles_nothing_again(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("192.168.1.10 nas\n")
    former = LocalSources(section('hosts = ["DIR/hosts"]'))
    records = former.records

    local = former.renewed(section('hosts = ["DIR/hosts"]'))

    assert local.records is records


def test_reload_with_the_same_table_has_the_files_as_they_are_then(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    former = LocalSources(section('hosts = ["DIR/hosts"]'))
    hosts.write_text("192.168.1.11 nas\nbad\n")

    local = former.renewed(section('hosts = ["DIR/hosts"]'))

    assert told(local, "nas") == ["192.168.1.11"]
    assert local.logged.problems == local.problems != ()  # the reload logs them, no worker again


def test_reload_with_another_table_tells_no_change_that_was_told_before(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.168.1.10 nas\n")
    former = LocalSources(section('hosts = ["DIR/hosts"]'))
    hosts.write_text("192.168.1.11 nas\n")  # workers follow that, and log it

    local = former.renewed(section('records = ["tv A 192.168.1.12"]\nhosts = ["DIR/hosts"]'))

    assert told(local, "tv") == ["192.168.1.12"]
    assert changes_of_local(former.names, local.names) == [
        "local: 2 names in 1 file",
        "local.records: new, 1 name",
    ]


def test_missing_file_is_told(section: Callable[[str], Local], tmp_path: Path) -> None:
    local = LocalSources(
        section(
            'hosts = ["DIR/hosts"]\nrecords = ["file:DIR/zone"]\n'
            'leases = ["auto", "DIR/leases", "DIR/*.status"]'
        ),
        root=tmp_path,
    )

    assert local.problems == tuple(
        f"{tmp_path}/{name}: cannot be read: No such file or directory"
        for name in ("zone", "hosts", "leases")
    )


def test_wrong_lines_are_told_with_file_and_line(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("# x\n192.168.1.300 nas\n")
    (tmp_path / "zone").write_text("nas A 192.168.1.10\nnas CNAME x.lan.\nbad\n")
    (tmp_path / "many").write_text("bad\n" * 30)
    (tmp_path / "leases").write_text("hello\n")
    local = LocalSources(
        section(
            'hosts = ["DIR/hosts", "DIR/many"]\nrecords = ["file:DIR/zone"]\n'
            'leases = ["DIR/leases"]\n'
        )
    )

    assert local.problems[:2] == (
        f'{tmp_path}/zone:3: "bad": the type is missing (try "bad A 192.168.1.10")',
        f'{tmp_path}/zone:2: "nas CNAME x.lan.": a name with a CNAME record has no others '
        "(leave one out)",
    )
    assert local.problems[2] == f'{tmp_path}/hosts:2: "192.168.1.300" is not an IP address'
    assert len(local.problems[3:-1]) == 11
    assert local.problems[-2] == f"{tmp_path}/many: 20 more lines are wrong"
    assert local.problems[-1] == (
        f'{tmp_path}/leases: has leases in no known format (try "dnsmasq:/PATH")'
    )


def test_leases_are_found_at_their_usual_places_and_when_they_come_later(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "var/lib/misc").mkdir(parents=True)
    (root / "var/lib/libvirt/dnsmasq").mkdir(parents=True)
    local = LocalSources(section('leases = ["auto"]'), root=root)
    assert (local.sources, local.problems) == (("local.records",), ())

    (root / "var/lib/misc/dnsmasq.leases").write_text(lease(0, "192.168.1.20", "laptop"))
    status = root / "var/lib/libvirt/dnsmasq/virbr0.status"
    status.write_text(
        '[{"ip-address": "192.168.122.2", "mac-address": "52:54:00:00:00:01", "expiry-time": 0}]'
    )
    (status.parent / "virbr0.macs").write_text(
        '[{"domain": "guest", "macs": ["52:54:00:00:00:01"]}]'
    )

    assert local.refresh()
    assert told(local, "laptop") == ["192.168.1.20"]
    assert told(local, "guest") == ["192.168.122.2"]

    status.unlink()
    assert local.refresh()
    assert told(local, "guest") == []
    assert told(local, "laptop") == ["192.168.1.20"]
    assert local.problems == ()


def test_json_that_is_cut_off_keeps_the_names_until_it_is_whole(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    file = tmp_path / "br0"
    text = '{"Leases": [{"Address": [192, 168, 1, 20], "Hostname": "laptop"}]}'
    file.write_text(text)
    local = LocalSources(section('leases = ["DIR/br0"]'))

    file.write_text("[" * 100_000)
    local.refresh()
    file.write_text(text[:40])
    local.refresh()

    assert told(local, "laptop") == ["192.168.1.20"]
    assert local.problems == (
        f"{file}: is not a whole file of networkd; its former names stay in use",
    )
    file.write_text(text)
    assert local.refresh()
    assert local.problems == ()


def test_file_after_the_last_number_of_a_source_is_still_read(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    names = [f"{number:03}" for number in range(260)]
    for name in names:
        (tmp_path / name).write_text(f"192.168.1.1 host{name}\n")
    listed = ", ".join(f'"DIR/{name}"' for name in names)

    local = LocalSources(section(f"hosts = [{listed}]"))

    assert told(local, "host259") == ["192.168.1.1"]
    assert place_of(local, "host252") == f"{tmp_path}/252:1"
    assert place_of(local, "host259") == "another file"


class Follower:
    """Refreshes sources when their watch says so, as a worker does."""

    def __init__(self, local: LocalSources) -> None:
        self.local = local
        self.calls = 0
        self._called = Event()
        local.watch(gevent.get_hub().loop, self._on_change)

    def _on_change(self) -> None:
        self.calls += 1
        self._called.set()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state; a refresh is only made when the watch has called."""
        with gevent.Timeout(20):
            while True:
                if self._called.is_set():
                    self._called.clear()
                    self.local.refresh()
                if holds():
                    return
                self._called.wait()

    def rest(self) -> None:
        """Wait until a change of this second would have been told."""
        gevent.sleep(1.5)


def test_changes_of_a_file_are_told(local: LocalSources, leases: Path) -> None:
    follower = Follower(local)
    try:
        for number in range(1, 4):  # within a second, and of the same size
            leases.write_text(lease(0, f"192.168.1.{number}", "laptop"))
            follower.until(lambda: told(local, "laptop") == [f"192.168.1.{number}"])  # noqa: B023

        other = leases.with_name("other")
        other.write_text(lease(0, "192.168.1.9", "laptop"))
        other.rename(leases)
        follower.until(lambda: told(local, "laptop") == ["192.168.1.9"])
    finally:
        local.stop()


def test_file_that_appears_where_a_pattern_looks_is_told(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    local = LocalSources(section('leases = ["DIR/*.leases"]'))
    follower = Follower(local)
    try:
        file = tmp_path / "new.leases"
        file.write_text(lease(0, "192.168.1.1", "laptop"))
        follower.until(lambda: told(local, "laptop") == ["192.168.1.1"])

        file.write_text(lease(0, "192.168.1.2", "laptop"))  # in place: the directory is the same
        follower.until(lambda: told(local, "laptop") == ["192.168.1.2"])
    finally:
        local.stop()


def test_file_behind_links_that_is_changed_in_place_is_told(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts").write_text("192.168.1.1 nas\n")
    now = tmp_path / "now"
    now.symlink_to("one")
    (tmp_path / "hosts").symlink_to("now/hosts")
    local = LocalSources(section('hosts = ["DIR/hosts"]'))
    follower = Follower(local)
    try:
        follower.rest()
        (tmp_path / "one/hosts").write_text("192.168.1.2 nas\n")
        follower.until(lambda: told(local, "nas") == ["192.168.1.2"])

        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(now)  # the link to the file is the same
        follower.until(lambda: told(local, "nas") == ["192.168.1.1"])
        (tmp_path / "two/hosts").write_text("192.168.1.3 nas\n")
        follower.until(lambda: told(local, "nas") == ["192.168.1.3"])
    finally:
        local.stop()


@pytest.mark.parametrize("name", ["a.leases", "*.leases"])
def test_directory_that_comes_later_or_is_replaced_is_watched(
    section: Callable[[str], Local], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLLED", 1.0)
    (tmp_path / "later").mkdir()
    folder = tmp_path / "later/folder"
    local = LocalSources(section(f'leases = ["dnsmasq:DIR/later/folder/{name}"]'))
    follower = Follower(local)

    def write(number: int) -> None:
        (folder / "a.leases").write_text(lease(0, f"192.168.1.{number}", "laptop"))
        follower.until(lambda: told(local, "laptop") == [f"192.168.1.{number}"])

    try:
        follower.rest()
        folder.mkdir()
        follower.rest()  # the kernel's notice is over before the files come
        write(1)
        follower.rest()
        shutil.rmtree(folder)
        folder.mkdir()
        follower.rest()
        write(2)
        follower.rest()
        folder.rename(tmp_path / "other")
        folder.mkdir()
        follower.rest()
        write(3)
    finally:
        local.stop()


def test_found_file_may_have_a_strange_name_if_it_is_utf_8(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    for number, name in enumerate((b"\xff", b"a\nb")):
        with open(os.fsencode(tmp_path) + b"/" + name + b".leases", "w") as file:
            file.write(lease(0, f"192.168.1.{number}", f"host{number}"))
    local = LocalSources(section('leases = ["DIR/*.leases"]'))
    follower = Follower(local)
    try:
        assert told(local, "host0") == []
        assert local.sources[1:] == (f"{tmp_path}/a\\u000ab.leases",)
        (tmp_path / "a\nb.leases").write_text(lease(0, "192.168.1.2", "host1"))
        follower.until(lambda: told(local, "host1") == ["192.168.1.2"])
    finally:
        local.stop()


def test_file_that_is_rewritten_line_by_line_never_loses_its_names(
    local: LocalSources, leases: Path
) -> None:
    text = "".join(lease(0, f"192.168.1.{number}", f"host{number}") for number in range(1, 9))
    leases.write_text(text)
    follower = Follower(local)
    try:
        follower.until(lambda: told(local, "host8") == ["192.168.1.8"])
        follower.rest()
        before = follower.calls
        began = time.monotonic()
        with open(leases, "r+b", buffering=0) as file:
            os.ftruncate(file.fileno(), 0)
            for line in text.replace("192.168.1.8", "192.168.1.9").splitlines(keepends=True):
                file.write(line.encode())
                gevent.sleep(0.01)
                if follower.calls > before:  # a slow machine: it has taken longer than the rest
                    local.refresh()
                elif time.monotonic() - began < 0.15:
                    assert told(local, "host8") == ["192.168.1.8"]

        follower.until(lambda: told(local, "host8") == ["192.168.1.9"])
        assert told(local, "host1") == ["192.168.1.1"]
        assert follower.calls - before <= 3
    finally:
        local.stop()


def resident() -> int:
    """Return the memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_reading_a_large_file_again_takes_no_more_memory(
    section: Callable[[str], Local], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "".join(f"10.1.{i >> 8 & 255}.{i & 255} host{i}.example.com\n" for i in range(100_000))
    )
    local = LocalSources(section('hosts = ["DIR/hosts"]'))
    before = resident()

    for number in range(4):
        with open(hosts, "a") as file:
            file.write(f"192.168.1.{number} more{number}\n")
        assert local.refresh()

    assert resident() - before < 8 << 20  # 0.1 MiB; 20 to 40 if what was freed is kept
    assert told(local, "more3") == ["192.168.1.3"]
