"""Imports, before root is dropped, the modules that are otherwise imported only when they are used.

A process that has dropped root may not be able to read the interpreter's files any more: a
checkout, a home or a Python below root's home is closed to others. Every later import then fails.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from itertools import chain

from ..config.schema import Config
from ..config.transports import TRANSPORTS, load_class
from ..listen.services import SERVICES
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
        *("fastdns.config.records", "fastdns.config.types"),
    ),
    "fastdns.policy.compile": tuple(chain.from_iterable(PARTS.values())),
}


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
    for service in SERVICES.values():
        _ = service.stream_server
    for transport in TRANSPORTS.values():
        load_class(transport.channel)
