"""Asks now, through the stages of a worker with an empty cache of its own, and notes what happens.

The daemon and its cache are not touched. What the daemon knows of its upstreams counts here, too.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import gevent
from gevent import socket

from ..._answer import Limits, Reading
from ..._attempts import Event
from ..._cache import Cache
from ..._cache_settings import CacheSettings
from ..._clients import Access, span_value
from ..._clock import Moment
from ..._control import Control
from ..._disk import Disk
from ..._entry import DiskEntry, pack
from ..._flights import Flights
from ..._hotcache import HotCache
from ..._key import name_of
from ..._ring import Ring
from ..._upstream import query_message
from ...browse.names import Key, spell_name, spell_rcode, spell_type
from ...browse.records import Record, read_records, relevant
from ...config.filters import View
from ...config.groups import Forward, Upstream
from ...config.servers import parse_server
from ...config.text import escape
from ...config.values import MIB, Server
from ...counters import WORKER_SLOT, Pages
from ...policy.blocking import with_blocking
from ...policy.explain_blocking import BlockedTarget
from ...resolve import Resolver
from ...upstream.group import Endpoints, Upstreams, limits_of
from ...upstream.origin import fingerprint
from ...upstream.sources import Sources
from ..figures import in_days, in_time
from . import filtering
from .story import Story, blocked_by_chain

PATIENCE = 8.0  # seconds; a question fails after 4
NOWHERE = Path("/proc/self/no-cache")  # a directory that cannot be there
RING_OCTETS = 1 << 16
EDE = 15  # the EDNS option, RFC 8914
BLOCKED = 15  # of its codes
TC = 0x0200
_OPTION = struct.Struct("!HH")
LIMITS = Limits(0, 2**31 - 1, 2**31 - 1, 300, True)
# Those that fastdns itself sends, and some that upstreams do.
EDE_NAMES = {
    0: "other error",
    3: "stale answer",
    6: "DNSSEC bogus",
    15: "blocked",
    16: "censored",
    17: "filtered",
    18: "prohibited",
    19: "stale NXDOMAIN answer",
    22: "no reachable authority",
    23: "network error",
}
REPLIES = {
    "truncated": "TC=1, the answer does not fit into UDP,",
    "lame": "a referral or nothing, as it does not recurse,",
    "useless": "a reply that cannot be used",
    "late": "no reply",
    "forged": "a forged reply (protect.bogus_answers), which is ignored,",
}
WORDS = {"asked": "asks", "unsent": "cannot send", "late": "time-out"}


@attrs.frozen
class Happening:
    """One line of the timeline."""

    ms: float
    what: str
    upstream: str | None
    detail: str


@attrs.frozen
class Timeline:
    """What happened, and the answer. `rcode`: None, there was no answer at all."""

    happenings: tuple[Happening, ...]
    ms: float
    rcode: str | None
    is_truncated: bool = False
    ede: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    target: BlockedTarget | None = None  # to which the answer leads: it is blocked by that

    def lines(self) -> Iterator[str]:
        """Yield the lines for people."""
        width = max((len(one.upstream or "") for one in self.happenings), default=0)
        for one in self.happenings:
            what = WORDS.get(one.what, one.what)
            upstream = f"{one.upstream or '':<{width}}"
            yield f"{one.ms:9.1f} ms  {what:<11} {upstream}  {one.detail}".rstrip()
        yield f"{self.ms:9.1f} ms  {'answer':<11} {self.summary}"
        for record in self.records:
            yield f"{'':25} {record.name} {record.ttl} {record.type} {record.data}"
        if self.target is not None:
            yield f"{'':25} blocked: the answer {filtering.led(self.target)}"

    @property
    def summary(self) -> str:
        if self.rcode is None:
            return f"none within {PATIENCE:.0f} s"
        said = [self.rcode, *(f"EDE {one}" for one in self.ede)]
        if self.is_truncated:
            said.append("too large for UDP: a client asks again over TCP")
        elif self.rcode == "NOERROR" and not any(one.section == "ANSWER" for one in self.records):
            said.append("no records of this type")
        return ", ".join(said)

    def as_json(self) -> dict[str, Any]:
        """Return it with stable names."""
        return {
            "events": [
                {"ms": one.ms, "what": one.what, "upstream": one.upstream, "detail": one.detail}
                for one in self.happenings
            ],
            "blocked_target": filtering.target_json(self.target),
            "rcode": self.rcode,
            "ms": self.ms,
            "ede": list(self.ede),
            "records": [
                {"name": one.name, "type": one.type, "ttl": one.ttl, "data": one.data}
                for one in self.records
            ],
        }


def ask(story: Story) -> Timeline:
    """Ask, and return what happened."""
    return _Asking(story).run()


class _Asking:
    """One question on its way."""

    def __init__(self, story: Story) -> None:
        self._story = story
        config = story.config
        self._key = story.key.join()
        self._happenings: list[Happening] = []
        counters = Pages.create(None, WORKER_SLOT + 1, time.time()).counters(WORKER_SLOT)
        self._upstreams = Upstreams(counters)
        flights = Flights(counters)
        groups: list[tuple[Upstream, Endpoints]] = [
            (one, self._upstreams.add(one, limits_of(config.cache, one), flights))
            for one in (config.upstream, *config.named_groups)
        ]
        self._names = {one.number: one.name for one in config.named_groups}
        cache = Cache(
            HotCache(MIB),
            counters,
            Disk(NOWHERE),
            Ring.open(None, RING_OCTETS),
            Control.open(None, NOWHERE),
            settings=CacheSettings.of(config.cache),
        )
        default = self._servers(config.upstream)
        for settings, endpoints in groups:
            servers = self._servers(settings)
            falls_back = isinstance(settings, Forward) and settings.fallback_to_default
            endpoints.replace(servers, default if falls_back else ())
            cache.set_group(endpoints.group.number, fingerprint(settings, servers))
        if story.daemon is not None:
            self._upstreams.take_over(story.daemon.upstreams)
        cache.use_policy(story.policy)
        self._cache = cache
        everybody = [(0, span_value(True, story.client.view))]
        access = Access(everybody, everybody)
        self._resolver = Resolver(
            [endpoints.group for _, endpoints in groups], cache, flights, access=access
        )
        self._begun = 0.0

    def _servers(self, settings: Upstream) -> tuple[Server, ...]:
        """Return the servers of a group: of the default one as the daemon has them."""
        daemon = self._story.daemon
        if daemon is not None and not isinstance(settings, (Forward, View)):
            names = [one.name for one in daemon.upstreams if " (" not in one.name]
            found = [server for server in map(_parsed, names) if server is not None]
            if found:
                return tuple(found)
        return Sources(self._story.config, settings).servers

    def run(self) -> Timeline:
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # Ctrl-C is the user's
        self._begun = time.monotonic()
        if self._story.is_forwarded:
            self._look_at_disk()
        self._resolver.fastpath.forward.trace = self._note
        reply = self._reply()
        ms = self._now()
        self._resolver.fastpath.forward.trace = None
        happenings = tuple(self._happenings)
        if not reply:
            return Timeline(happenings, ms, None)
        timeline = _read(reply, self._key, happenings, ms)
        if self._story.is_forwarded and any(one.startswith(f"{BLOCKED} ") for one in timeline.ede):
            timeline = attrs.evolve(timeline, target=self._target())
        return timeline

    def _target(self) -> BlockedTarget | None:
        """Ask as if nothing was blocked, and return the name that blocks this answer."""
        story, policy = self._story, self._story.policy
        self._cache.use_policy(with_blocking(policy, None))
        reply = self._reply()
        if not reply:
            return None
        records = _read(reply, self._key, (), 0.0).records
        return blocked_by_chain(story.config, policy, story.key, story.client.view, records)

    def _reply(self) -> bytes:
        """Send the question to a socket of our own that is served as that of a worker."""
        served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with served, client:
            served.bind(("127.0.0.1", 0))
            client.connect(served.getsockname())
            watcher = gevent.get_hub().loop.io(served.fileno(), 1)
            watcher.start(self._resolver.fastpath.drain, served.fileno())
            number = int.from_bytes(os.urandom(2), "big")
            try:
                client.settimeout(PATIENCE)
                client.send(query_message(number, self._key, False))
                reply: bytes = client.recv(65535)
            except OSError:  # a time-out is one
                reply = b""
            finally:
                watcher.stop()
        return reply

    def _look_at_disk(self) -> None:
        """Note how long the cache on disk takes, and what it has."""
        site, plain = self._story.site, self._story.plain
        if site is None:
            return
        group = self._story.explanation.decided.group
        key = self._story.key._replace(group=group).join()
        disk = Disk(site.path)
        try:
            disk.open()
            begun = time.perf_counter()
            value = disk.fetch(key)
            took = in_time(time.perf_counter() - begun)
        except FileNotFoundError:
            self._add("disk", None, "there is no cache on disk")
            return
        except (OSError, ValueError) as error:
            self._add("disk", None, f"cannot be read: {error}")
            return
        finally:
            disk.close()
        found = "nothing there"
        if value is not None and plain is not None:
            left = f", {in_days(plain.item.ttl)} left" if plain.item.state == "fresh" else ""
            found = f"an entry that is {plain.item.state}{left}; not used now"
        self._add("disk", None, f"looked up in {took}: {found}")

    def _now(self) -> float:
        return round((time.monotonic() - self._begun) * 1000, 1)

    def _add(self, what: str, upstream: str | None, detail: str) -> None:
        self._happenings.append(Happening(self._now(), what, upstream, detail))

    def _note(self, event: Event) -> None:
        name = None
        for one in self._upstreams:
            if one.known is event.upstream:
                name = one.state.name
        self._add(event.what, name, self._detail(event))

    def _detail(self, event: Event) -> str:
        if event.what == "followed":
            name = spell_name(name_of(event.key))
            return f"the chain leads to {name}, of {self._group(event.number)}"
        if event.what == "compared":
            return 'aaaa = "if-no-a": has the name an IPv4 address?'
        other = "" if event.key == self._key else f" for {self._spelled(event)}"
        if event.what == "asked":
            over = "TCP" if event.is_stream else "UDP"
            times = f", sending {event.sendings}" if event.sendings > 1 else ""
            return f"over {over}{other}{times}{'' if event.has_opt else ', without EDNS'}"
        told = REPLIES.get(event.what) or os.strerror(event.number)
        if event.what == "replied":
            told = spell_rcode(event.number)
        elif event.number == errno.EBADMSG and event.what == "failed":
            forged = any(one.what == "forged" for one in self._happenings)
            told = "forged replies only" if forged else "no reply that can be used"
        return f"{told}{other} after {in_time(event.seconds)}"

    def _spelled(self, event: Event) -> str:
        qtype = Key.split(event.key).qtype
        name = spell_name(name_of(event.key))
        return name if qtype == self._story.key.qtype else f"{name} {spell_type(qtype)}"

    def _group(self, number: int) -> str:
        return f"group {self._names[number]}" if number in self._names else "the default group"


def _parsed(name: str) -> Server | None:
    try:
        server = parse_server(name)
    except ValueError:
        return None
    return server if isinstance(server, Server) else None


def _read(reply: bytes, key: bytes, happenings: tuple[Happening, ...], ms: float) -> Timeline:
    """Return the timeline that ends with this answer of ours."""
    reading = Reading()
    if not reading.read(reply, int.from_bytes(reply[:2], "big"), key) or reading.is_spoiled:
        return Timeline(happenings, ms, spell_rcode(reply[3] & 0xF))
    answer = reading.answer(LIMITS)
    records: list[Record] = []
    if not answer.is_failure:
        entry = DiskEntry.parse(pack(answer, Moment.now()))
        records = relevant(list(read_records(entry.message, entry.ttl_offsets, name_of(key), 0)))
    return Timeline(
        happenings,
        ms,
        spell_rcode(reading.rcode),
        bool(int.from_bytes(reply[2:4], "big") & TC),
        tuple(_errors(answer.edns_options)),
        tuple(records),
    )


def _errors(options: bytes) -> Iterator[str]:
    """Yield the Extended DNS Errors, each with its name and its text."""
    at = 0
    while at + _OPTION.size <= len(options):
        code, length = _OPTION.unpack_from(options, at)
        at += _OPTION.size
        value = options[at : at + length]
        at += length
        if code == EDE and len(value) >= 2:
            number = int.from_bytes(value[:2], "big")
            text = escape(value[2:].decode("utf-8", "replace"))
            said = ": ".join(one for one in (EDE_NAMES.get(number, ""), text) if one)
            yield f"{number} ({said})" if said else str(number)
