"""What an update makes of a download: the last good copy stays until a better one comes."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import attrs
import pytest

from fastdns._block_set import BlockSet
from fastdns.config.block_lists import parse_list
from fastdns.config.names import parse_name
from fastdns.config.places import Places
from fastdns.config.servers import parse_server
from fastdns.config.values import AnyList
from fastdns.lists.copies import pieces_of
from fastdns.lists.http import Limits
from fastdns.lists.lookup import Lookup
from fastdns.lists.report import lines_of_failure
from fastdns.lists.schedule import seconds_to_next
from fastdns.lists.state import CLOCK_SECONDS, State
from fastdns.lists.store import Store
from fastdns.lists.update import Outcome, Wish, update

from ..support import download_server as download
from ..support.download_server import Behaviour, DownloadServer, redirect, text
from ..support.false_upstream import FalseUpstream

GOOD = b"0.0.0.0 ads.test\n0.0.0.0 more.test\n"
MANY = b"".join(b"0.0.0.0 name%d.test\n" % number for number in range(2000))
FEW = b"".join(b"0.0.0.0 name%d.test\n" % number for number in range(900))
NOW = 1_790_000_000.0
DAY = 86400.0


@attrs.define
class Site:
    """A directory of lists, and updates of it."""

    store: Store
    resolver: FalseUpstream
    now: float = NOW

    def update(self, *urls: str, limits: Limits | None = None, **wish: object) -> Outcome:
        """Update at the present time; by default whatever is due."""
        lists = [parse_list(url) for url in urls]
        server = parse_server(f"{self.resolver.host}:{self.resolver.port}")
        lookup = Lookup(servers=lambda name: [server])
        limits = limits or Limits(seconds=60.0, silence=20.0)
        return update(
            self.store,
            Wish(lists, DAY, lookup, limits, clock=lambda: self.now, **wish),
        )

    def state(self, url: str) -> State:
        return self.store.state(parse_list(url))

    def copy(self, url: str) -> bytes:
        return b"".join(pieces_of(self.store.copy(parse_list(url))))

    def blocks(self, name: str) -> bool:
        """Whether the compiled file has a name."""
        return bool(BlockSet(self.store.compiled.read_bytes()).find(parse_name(name)))


@pytest.fixture
def site(tmp_path: Path, resolver: FalseUpstream) -> Site:
    store = Store(Places(tmp_path, tmp_path / "run"))
    store.prepare()
    return Site(store, resolver)


def problem(outcome: Outcome) -> str:
    """The one line about what went wrong."""
    (line,) = lines_of_failure(outcome, NOW)
    assert "\n" not in line
    return line


def test_a_list_is_fetched_kept_and_compiled(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", text(GOOD))

    outcome = site.update(url)

    assert (outcome.is_compiled, outcome.has_failed) == (True, False)
    assert site.copy(url) == GOOD
    assert site.state(url).figures.taken == 2
    assert site.blocks("ads.test.")
    (request,) = web.requests("/hosts")
    assert request.headers["User-Agent"].startswith("fastdns/")
    assert request.headers["Host"] == f"lists.example:{web.port}"


@pytest.mark.parametrize(
    "behaviour",
    [
        download.packed(GOOD),
        lambda request: request.reply(zlib.compress(GOOD), Content_Encoding="deflate"),
        lambda request: request.reply(zlib.compress(GOOD)[2:-4], Content_Encoding="deflate"),
        text(gzip.compress(GOOD)),
        text(gzip.compress(GOOD[:20]) + gzip.compress(GOOD[20:])),
        lambda request: request.reply(gzip.compress(gzip.compress(GOOD)), Content_Encoding="gzip"),
    ],
    ids=["gzip", "deflate", "raw deflate", "a .gz file", "two in one", "a .gz file in gzip"],
)
def test_a_packed_list_is_unpacked(site: Site, web: DownloadServer, behaviour: Behaviour) -> None:
    url = web.on("/hosts", behaviour)

    site.update(url)

    assert site.copy(url) == GOOD


def test_a_list_that_has_not_changed_is_not_sent_again(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", download.unchanged_if_known(GOOD, '"v1"'))
    site.update(url)
    copied = site.store.copy(parse_list(url)).stat().st_mtime_ns
    site.now += 2 * DAY

    outcome = site.update(url)

    assert [str(one) for one in outcome.unchanged] == [url]
    assert not outcome.is_compiled
    assert site.state(url).checked_at == site.now
    assert site.state(url).fetched_at == NOW
    assert site.store.copy(parse_list(url)).stat().st_mtime_ns == copied
    assert [one.headers["If-None-Match"] for one in web.requests("/hosts")] == [None, '"v1"']


def test_a_server_without_versions_that_sends_the_same_changes_nothing(
    site: Site, web: DownloadServer
) -> None:
    url = web.on("/hosts", text(GOOD))
    site.update(url)
    site.now += 2 * DAY

    assert not site.update(url).is_compiled
    assert site.state(url).fetched_at == NOW


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(20) + content[middle + 20 :]


def circle(request: download.Request) -> None:
    request.reply(b"", 302, Location="/other" if request.path == "/hosts" else "/hosts")


BAD: dict[str, tuple[Behaviour, str]] = {
    "404": (download.missing, "answers 404 Not Found"),
    "500": (download.broken, "answers 500 Internal Server Error"),
    "HTML": (text(b"\n<!DOCTYPE html>\n<html><body>0.0.0.0 x.test"), "is an HTML page"),
    "half": (download.half(GOOD), "is cut off after"),
    "half of a packed one": (download.half_packed(GOOD * 999), "is cut off"),
    "damaged": (
        lambda request: request.reply(damaged(gzip.compress(MANY)), Content_Encoding="gzip"),
        "is damaged",
    ),
    "redirect loop": (circle, "redirects in a circle"),
    "2 GB": (download.zeros(2 << 30), "is larger than 8MiB"),
    "2 GB, said before": (text(b"", Content_Length=2 << 30), "is larger than 64MiB"),
    "2 GB when unpacked": (download.packed_zeros(2 << 30), "is larger than 8MiB"),
    "no entry": (text(b"# nothing\n"), "has no entry"),
    "nothing": (text(b""), "has no entry"),
    "unknown coding": (text(GOOD, Content_Encoding="br"), "unknown Content-Encoding"),
    "to a file": (redirect("file:///etc/passwd"), "is not a web address"),
    "304 to nobody": (lambda request: request.reply(b"", 304), "answers 304"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_download_keeps_the_last_good_copy_and_says_so(
    site: Site, web: DownloadServer, name: str
) -> None:
    behaviour, why = BAD[name]
    url = web.on("/hosts", text(GOOD))
    site.update(url)
    web.on("/hosts", behaviour)
    web.on("/other", circle)
    site.now += 2 * DAY

    outcome = site.update(url, limits=Limits(text=8 << 20))

    line = problem(outcome)
    assert line.startswith(f"{url} ")
    assert why in line
    assert line.endswith("stays in use")
    assert site.copy(url) == GOOD
    assert site.blocks("ads.test.")
    assert why in site.state(url).error
    assert not list(site.store.compiled.parent.glob("*.new"))


def test_a_bad_download_of_a_new_list_leaves_none(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", download.missing)

    assert problem(site.update(url)).endswith("there is no copy of it")
    assert not site.store.compiled.exists()


def test_a_server_that_says_nothing_is_given_up(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", web.silence)

    outcome = site.update(url, limits=Limits(silence=0.3))

    assert "sends nothing for 0.3 s" in problem(outcome)


def test_a_server_that_drips_is_given_up_in_the_end(site: Site, web: DownloadServer) -> None:
    def drip(request: download.Request) -> None:
        request.send_response(200)
        request.end_headers()
        while not web.closing.wait(0.05):
            request.wfile.write(b"#")
            request.wfile.flush()

    url = web.on("/hosts", drip)

    assert "takes longer than 1 s" in problem(site.update(url, limits=Limits(seconds=1.0)))


def test_redirects_lead_to_the_list_if_they_are_few(site: Site, web: DownloadServer) -> None:
    url = web.on("/0", redirect("/1"))
    for number in range(1, 8):
        web.on(f"/{number}", redirect(f"/{number + 1}", 301))
    web.on("/5", text(GOOD))

    site.update(url)
    assert site.copy(url) == GOOD

    web.on("/5", redirect("/6"))
    site.now += 2 * DAY
    assert "redirects more than 5 times" in problem(site.update(url))


def test_a_list_comes_over_tls_from_the_one_whose_name_it_has(
    site: Site, secure_web: DownloadServer
) -> None:
    url = secure_web.on("/hosts", text(GOOD))
    other = secure_web.url("/hosts", "other.lists.example")

    outcome = site.update(url, other)

    assert site.copy(url) == GOOD
    assert f"{other} has no valid certificate: " in problem(outcome)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    site: Site, secure_web: DownloadServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    assert "has no valid certificate" in problem(site.update(secure_web.on("/hosts", text(GOOD))))


def test_a_redirect_from_https_to_http_is_refused(
    site: Site, web: DownloadServer, secure_web: DownloadServer
) -> None:
    url = secure_web.on("/hosts", redirect(web.on("/hosts", text(GOOD))))

    assert "redirects from https to another protocol" in problem(site.update(url))
    assert web.requests("/hosts") == []


def test_a_list_that_has_lost_half_is_taken_only_on_demand(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", text(MANY))
    site.update(url)
    web.on("/hosts", text(FEW))
    site.now += 2 * DAY

    line = problem(site.update(url))
    assert "has shrunk from 2,000 entries to 900 (fastdns lists update --accept-smaller" in line
    assert site.blocks("name1500.test.")

    outcome = site.update(url, chosen=[parse_list(url)], accepts_smaller=True)
    assert not outcome.has_failed
    assert not site.blocks("name1500.test.")


def test_a_proxy_of_the_environment_is_not_used(
    site: Site, web: DownloadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = web.on("/hosts", text(GOOD))

    assert not site.update(url).has_failed


def test_a_name_without_address_is_named(site: Site, resolver: FalseUpstream) -> None:
    resolver.on("nowhere.lists.example", lambda asked: asked.answer(rcode="NXDOMAIN"))

    line = problem(site.update("http://nowhere.lists.example/hosts"))

    assert "nowhere.lists.example cannot be resolved" in line
    assert "answers NXDOMAIN" in line


def test_both_families_are_tried(site: Site, web: DownloadServer, resolver: FalseUpstream) -> None:
    def both(asked: object) -> None:
        asked.answer("@ 9 IN A 127.0.0.2" if asked.rdtype == 1 else "@ 9 IN AAAA ::1")

    resolver.on("both.lists.example", both)
    resolver.on(
        "second.lists.example",
        lambda asked: asked.answer("@ 9 IN A 127.0.0.2", "@ 9 IN A 127.0.0.1"),
    )
    web.on("/hosts", text(GOOD))

    assert "cannot be reached" in problem(site.update(web.url("/hosts", "both.lists.example")))
    assert not site.update(web.url("/hosts", "second.lists.example")).has_failed


# What is due when


def due_in(site: Site, url: str, update_seconds: float = DAY) -> float:
    lists: list[AnyList] = [parse_list(url)]
    return seconds_to_next(site.store, lists, update_seconds, site.now)


def test_the_next_check_comes_after_the_configured_time_more_or_less(
    site: Site, web: DownloadServer
) -> None:
    url = web.on("/hosts", text(GOOD))
    assert due_in(site, url) == 0
    site.update(url)

    assert 0.9 * DAY <= due_in(site, url) <= 1.1 * DAY
    assert due_in(site, url, 0.0) == float("inf")  # only on demand
    site.update(url)
    assert len(web.requests("/hosts")) == 1


def test_a_failure_is_tried_again_sooner_and_then_less_often(
    site: Site, web: DownloadServer
) -> None:
    url = web.on("/hosts", download.broken)
    pauses = []
    for _ in range(5):
        site.update(url)
        pauses.append(due_in(site, url))
        site.now += pauses[-1]

    assert pauses == [300, 900, 3600, 10800, 10800]
    web.on("/hosts", text(GOOD))
    site.update(url)
    assert due_in(site, url) > 0.9 * DAY


def test_a_time_that_a_wrong_clock_has_noted_does_not_count(
    site: Site, web: DownloadServer
) -> None:
    url = web.on("/hosts", text(GOOD))
    site.now += 10 * 365 * DAY
    site.update(url)
    site.now = NOW

    assert due_in(site, url) == 0
    site.update(url)
    site.now -= CLOCK_SECONDS / 2  # as at a boot without a clock
    assert due_in(site, url) > DAY


# What is kept where


def test_the_copies_suffice_without_a_network(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", text(GOOD))
    site.update(url)
    site.store.compiled.unlink()
    web.on("/hosts", web.silence)

    assert site.update(url).is_compiled
    assert site.blocks("ads.test.")
    assert len(web.requests("/hosts")) == 1


def test_what_no_configuration_names_any_more_is_removed(site: Site, web: DownloadServer) -> None:
    first, second = web.on("/1", text(GOOD)), web.on("/2", text(MANY))
    site.update(first, second)

    assert site.update(first).is_compiled
    assert not site.blocks("name1.test.")
    assert not site.store.copy(parse_list(second)).exists()
    assert not site.state(second).digest

    site.update()
    assert not site.store.compiled.parent.exists()


def test_a_damaged_copy_is_fetched_again(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", download.unchanged_if_known(GOOD, '"v1"'))
    site.update(url)
    copy = site.store.copy(parse_list(url))
    copy.write_bytes(copy.read_bytes()[:-9])
    site.store.compiled.unlink()

    site.update(url)

    assert site.copy(url) == GOOD
    assert site.blocks("ads.test.")


def test_a_state_file_that_is_rubbish_is_as_good_as_none(site: Site, web: DownloadServer) -> None:
    url = web.on("/hosts", text(GOOD))
    site.update(url)
    (state,) = (one for one in site.store.compiled.parent.glob("*.json") if one.stem != "compiled")
    for rubbish in ("", "[]", f'{{"url": "{url}"}}', "\0\xff"):
        state.write_text(rubbish)
        assert not site.update(url).has_failed
        assert site.blocks("ads.test.")


def test_a_file_is_read_again_when_it_has_changed(site: Site, tmp_path: Path) -> None:
    own = tmp_path / "own"
    url = f"file:{own}"
    own.write_bytes(GOOD)
    site.update(url)
    assert due_in(site, url) == float("inf")

    own.write_bytes(GOOD + b"0.0.0.0 third.test\n")
    assert due_in(site, url) == 0
    site.update(url)
    assert site.blocks("third.test.")

    own.unlink()
    assert "cannot be read: No such file" in problem(site.update(url))
    assert site.blocks("third.test.")
    assert due_in(site, url) == 300

    own.write_bytes(b"")  # on purpose
    site.now += 300
    site.update(url)
    assert not site.blocks("third.test.")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A directory on a file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k none {place}") != 0:
        pytest.skip("nothing can be mounted here")
    return place


def test_a_full_disk_keeps_what_is_there(
    small_disk: Path, resolver: FalseUpstream, web: DownloadServer
) -> None:
    try:
        store = Store(Places(small_disk, small_disk / "run"))
        store.prepare()
        site = Site(store, resolver)
        url = web.on("/hosts", text(GOOD))
        site.update(url)
        (small_disk / "filler").write_bytes(bytes(200 << 10))
        web.on(
            "/hosts",
            text(b"".join(os.urandom(16).hex().encode() + b".test\n" for _ in range(9999))),
        )
        site.now += 2 * DAY

        line = problem(site.update(url))

        assert "cannot be kept" in line
        assert "No space left on device" in line
        assert site.copy(url) == GOOD
        assert site.blocks("ads.test.")
    finally:
        os.system(f"umount {small_disk}")


def test_only_one_update_runs_at_a_time(site: Site) -> None:
    waited: list[bool] = []

    def waits() -> None:
        waited.append(True)
        first.__exit__(None, None, None)

    first = site.store.locked()
    first.__enter__()
    with pytest.raises(BlockingIOError), site.store.locked():
        pass
    with site.store.locked(waits):
        assert waited
