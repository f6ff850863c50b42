"""Response policy zones by zone transfer, from nsd: whole, then what has changed; signed or not."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastdns.config.block_lists import parse_list
from fastdns.lists.report import lines_of_failure
from fastdns.lists.schedule import seconds_to_next

from ..support.client import ask, eventually
from ..support.nsd import ZONE, Nsd
from .test_downloads import NOW, Site, site  # noqa: F401 - the fixture

SECRET = "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
BIND_KEY = f'key "transfer." {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
NSD_KEY = f"key:\n   name: transfer  # who\n   algorithm: hmac-sha256\n   secret: {SECRET}\n"
TRANSFERS = """
key:
  name: "transfer."
  algorithm: hmac-sha256
  secret: "{secret}"
"""
HEAD = "@ IN SOA ns.demo. hostmaster.demo. {serial} 600 120 7200 60\n@ IN NS ns.demo.\n"


def zone(serial: int, *names: str) -> str:
    """The text of a zone that blocks these names."""
    rules = "".join(f"{name} IN CNAME .\n*.{name} IN CNAME .\n" for name in names)
    return "$TTL 60\n" + HEAD.format(serial=serial) + rules


class Master(Nsd):
    """nsd that hands its zones out: to everybody, or to who has the key."""

    def __init__(self, directory: Path, zones: dict[str, str], who: dict[str, str]) -> None:
        super().__init__(directory, zones)
        self._who = who

    def _text(self, name: str) -> str:
        return (
            ZONE.format(name=name, directory=self.directory)
            + f"  provide-xfr: 127.0.0.1 {self._who[name]}\n"
            + "  store-ixfr: yes\n  create-ixfr: yes\n"
        )

    @property
    def more(self) -> str:
        return TRANSFERS.format(secret=SECRET)

    def replace(self, name: str, serial: int, text: str) -> None:
        """Serve another version of a zone."""
        (self.directory / f"{name}zone").write_text(text)
        self.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: re.search(r" (\d+) 600 ", str(ask(self, name, "SOA").answer[0])),
            lambda found: found is not None and int(found[1]) == serial,
        )


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    zones = {name: zone(1, "ads.demo", "bad.demo") for name in ("open.rpz.", "signed.rpz.")}
    who = {"open.rpz.": "NOKEY", "signed.rpz.": "transfer."}
    with Master(tmp_path / "nsd", zones, who) as server:
        yield server


def url_of(master: Master, name: str, key: Path | None = None) -> str:
    option = f"?key=file:{key}" if key else ""
    return f"axfr://127.0.0.1:{master.port}/{name}{option}"


def fetch(site: Site, url: str) -> None:  # noqa: F811
    """Fetch it; nsd may hang up while it takes a new version in."""
    chosen = [parse_list(url)]
    eventually(lambda: site.update(url, chosen=chosen).has_failed, lambda failed: not failed)


def test_a_zone_is_transferred_and_kept_fresh_by_its_timers(site: Site, master: Master) -> None:  # noqa: F811
    url = url_of(master, "open.rpz")
    lists = [parse_list(url)]

    site.update(url)

    assert site.blocks("ads.demo.")
    assert site.blocks("www.bad.demo.")
    assert site.state(url).figures.taken == 4
    assert seconds_to_next(site.store, lists, 86400.0, site.now) == 600

    site.now += 600
    assert [str(one) for one in site.update(url).unchanged] == [url]
    assert seconds_to_next(site.store, lists, 86400.0, site.now) == 600


def test_only_what_has_changed_is_transferred_the_next_time(site: Site, master: Master) -> None:  # noqa: F811
    names = [f"name{number}.demo" for number in range(500)]
    master.replace("open.rpz.", 2, zone(2, *names))
    url = url_of(master, "open.rpz")
    fetch(site, url)
    before = set(site.copy(url).splitlines())

    master.replace("open.rpz.", 3, zone(3, *names[1:], "new.demo"))
    master.replace("open.rpz.", 4, zone(4, *names[2:], "new.demo"))

    def next_serial() -> int:
        site.now += 600
        fetch(site, url)
        return int(site.state(url).timers.serial)

    # A process of nsd that is about to end may still have the version between.
    eventually(next_serial, lambda serial: serial == 4)

    after = set(site.copy(url).splitlines())
    assert len(site.copy(url).splitlines()) == len(before) - 2
    assert {line.split()[0] for line in before - after} == {
        *(b"name0.demo.open.rpz.", b"*.name0.demo.open.rpz."),
        *(b"name1.demo.open.rpz.", b"*.name1.demo.open.rpz."),
        b"open.rpz.",
    }
    assert site.blocks("new.demo.")
    assert not site.blocks("name0.demo.")


@pytest.mark.parametrize("text", [BIND_KEY, NSD_KEY], ids=["BIND", "NSD"])
def test_a_signed_transfer_needs_the_key(
    site: Site,  # noqa: F811
    master: Master,
    tmp_path: Path,
    text: str,
) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text(text)
    other.write_text(text.replace(SECRET, "b3RoZXI="))
    good = url_of(master, "signed.rpz", key)
    bad = [url_of(master, "signed.rpz"), url_of(master, "signed.rpz", other)]
    lost = url_of(master, "signed.rpz", tmp_path / "none")

    outcome = site.update(good, *bad, lost)

    assert site.copy(good).count(b"ads.demo") == 2
    assert [str(one) for one, _ in outcome.failed] == [*bad, lost]
    lines = list(lines_of_failure(outcome, NOW))
    assert "answers REFUSED" in lines[0] or "answers NOTAUTH" in lines[0]
    assert "TSIG key" in lines[1]
    assert f"needs the key in {tmp_path}/none, which cannot be read" in lines[2]


def test_a_zone_whose_master_is_gone_is_tried_again_and_expires(
    site: Site,  # noqa: F811
    master: Master,
) -> None:
    url = url_of(master, "open.rpz")
    lists = [parse_list(url)]
    site.update(url)
    master.process.terminate()
    master.process.wait()
    site.now += 600

    (line,) = lines_of_failure(site.update(url), site.now)
    assert "cannot be reached: Connection refused" in line
    assert seconds_to_next(site.store, lists, 86400.0, site.now) == 120
    assert site.blocks("ads.demo.")

    site.now += 7200
    (line,) = lines_of_failure(site.update(url), site.now)
    assert line.endswith("has expired and is not used")
    assert not site.blocks("ads.demo.")


def test_a_server_without_the_zone_is_named(site: Site, master: Master) -> None:  # noqa: F811
    (line,) = lines_of_failure(site.update(url_of(master, "other.rpz")), NOW)

    assert "answers REFUSED" in line
