"""Imports, before root is dropped, the modules that are otherwise imported only when they are used.

A process that has dropped root may not be able to read the interpreter's files any more: a
checkout, a home or a Python below root's home is closed to others. Every later import then fails.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain

from ..config.schema import Config
from ..config.transports import TRANSPORTS, load_class
from ..policy.parts import PARTS, import_parts

# By the module that imports them late. Not every version has all of them.
LATE = {
    "gevent": (  # with its first hub, its first threads and the first exception in one
        *("pprint", "pickle", "concurrent.futures"),
        *("gevent.monkey", "gevent.threadpool", "gevent.util"),
    ),
    "lmdb": ("lmdb._envid",),  # with its first environment; Debian 12's has none
    "fastdns.config.files": ("encodings.ascii", "encodings.utf_8_sig"),  # with what a reload reads
}
# The same of ours, of which a daemon has only what its configuration needs.
PARTS_OF = {
    "fastdns.config.structure": (
        *("fastdns.config.addresses", "fastdns.config.leases"),
        *("fastdns.config.records", "fastdns.config.types", "fastdns.config.block_lists"),
        *("fastdns.config.hours", "fastdns.config.view_clients"),
    ),
    "fastdns.policy.compile": tuple(chain.from_iterable(PARTS.values())),
}
# What keeps block lists up to date, in a process of its own: not for others to carry.
FOR_LISTS = (
    *("fastdns.lists.background", "fastdns.lists.zone"),
    *("encodings.idna", "stringprep"),
    *("dns.rdtypes.ANY.SOA", "dns.rdtypes.ANY.TSIG", "dns.rdtypes.ANY.CNAME"),
    *("dns.rdtypes.ANY.NS", "dns.rdtypes.ANY.TXT", "dns.rdtypes.ANY.DNAME"),
    *("dns.rdtypes.IN.A", "dns.rdtypes.IN.AAAA"),
)


def import_late(config: Config | None = None) -> None:
    """Import the modules now that the loaded ones would import later.

    With a configuration only those that it needs, as its values have been read already.
    """
    for module, late in (LATE if config is not None else LATE | PARTS_OF).items():
        if module in sys.modules:
            for name in late:
                with suppress(ModuleNotFoundError):
                    importlib.import_module(name)
    if config is not None:
        import_parts(config)
    for transport in TRANSPORTS.values():
        load_class(transport.channel)


def import_for_later(may_read: Callable[[Iterable[str]], bool], *, lists: bool) -> None:
    """Import what another configuration or a rule made at run time may need and, for `lists`, what
    keeps block lists fresh.

    Only what cannot be read later, as `may_read` tells of files: the rest is imported where and
    when it is needed, because here all processes would carry it.
    """
    if not may_read(_files("fastdns.policy.parts")):
        import_late()
        importlib.import_module("fastdns.listen.http1")
    if lists and not may_read(_files("fastdns.lists.background", "ssl", "_ssl", "dns")):
        import_for_lists()


def import_for_lists() -> None:
    """Import the modules that the process for block lists needs."""
    for name in FOR_LISTS:
        importlib.import_module(name)


def _files(*modules: str) -> list[str]:
    """Return a file of each of these modules, which stand for their directories."""
    found = map(find_spec, modules)
    return [one.origin for one in found if one is not None and one.has_location and one.origin]
