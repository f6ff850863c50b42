"""The certificate and its key in memory that workers inherit: the supervisor writes, they read.

Only the supervisor may read the files, as long as it is root, and only it looks whether they have
changed. What it finds good is put here; each worker looks about once a second.
"""

from __future__ import annotations

import logging
import mmap
import struct
from binascii import crc32
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..listen.streams import Streams

log = logging.getLogger(__name__)

PAGE_OCTETS = 256 << 10
_HEAD = struct.Struct("@QIII")  # generation, lengths of certificate and key, CRC of all
PAIR_MAX = PAGE_OCTETS - _HEAD.size


@attrs.frozen
class Pair:
    """A certificate with the chain to its authority, and its key, in PEM."""

    chain: bytes
    key: bytes = attrs.field(repr=False)


def secret_page(octets: int) -> mmap.mmap:
    """Return memory that children share and that no core dump has."""
    page = mmap.mmap(-1, octets)
    with suppress(OSError):  # a kernel without it
        page.madvise(mmap.MADV_DONTDUMP)
    return page


class CertificatePage:
    """The page. Its generation is another one after each change; 0: there has been nothing yet."""

    def __init__(self) -> None:
        self._page = secret_page(PAGE_OCTETS)

    @property
    def generation(self) -> int:
        """The number of the content."""
        return int(_HEAD.unpack_from(self._page)[0])

    def write(self, pair: Pair) -> None:
        """Publish a pair. ValueError: it is too large."""
        content = pair.chain + pair.key
        if len(content) > PAIR_MAX:
            raise ValueError(f"certificate and key have {len(content)} bytes; at most {PAIR_MAX}")
        self._put(content, len(pair.chain))

    def clear(self) -> None:
        """Forget the pair: no listener needs one."""
        if self.read() is not None:
            self._put(b"", 0)

    def read(self) -> Pair | None:
        """Return the pair; None: there is none, or one is just being written."""
        _, chain_length, key_length, checksum = _HEAD.unpack_from(self._page)
        length = chain_length + key_length
        if not 0 < length <= PAIR_MAX:
            return None
        content = self._page[_HEAD.size : _HEAD.size + length]
        if crc32(content) != checksum:
            return None
        return Pair(content[:chain_length], content[chain_length:])

    def close(self) -> None:
        """Unmap it in this process."""
        self._page.close()

    def _put(self, content: bytes, chain_length: int) -> None:
        generation, former_chain, former_key, _ = _HEAD.unpack_from(self._page)
        padding = max(former_chain + former_key - len(content), 0)
        self._page[_HEAD.size : _HEAD.size + len(content) + padding] = content + bytes(padding)
        key_length = len(content) - chain_length
        _HEAD.pack_into(self._page, 0, generation + 1, chain_length, key_length, crc32(content))


class WorkersCertificate:
    """In a worker: the pair that its connections use."""

    def __init__(self, page: CertificatePage, tickets: mmap.mmap, streams: Streams) -> None:
        """Let `streams` use the pair in the page, if there is one."""
        self._page = page
        self._tickets = tickets
        self._streams = streams
        self._generation = 0
        self.look()

    def look(self) -> None:
        """Let new connections use the pair in the page, if it is another one than last time."""
        generation = self._page.generation
        if generation == self._generation:
            return
        pair = self._page.read()
        if pair is None:
            return
        self._generation = generation  # if it has changed since, the next look reads it again
        try:
            self._streams.use_certificate(pair.chain, pair.key, self._tickets)
        except ValueError as error:
            log.error("listen.certificate, listen.key: %s; not used", error)
