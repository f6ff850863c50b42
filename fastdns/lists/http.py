"""One download over HTTP or HTTPS, with limits of size, time and redirects."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import attrs

from .. import __version__
from ..config.units import spell_size
from ..config.values import Address
from ..upstream.once import dial
from .errors import FetchError
from .lookup import Lookup
from .state import Version
from .unpack import unpacked

REDIRECTS = {301, 302, 303, 307, 308}
PORTS = {"http": 80, "https": 443}
PIECE = 1 << 16
DIAL_SECONDS = 10.0  # for an address; there may be another one
_SAFE = "%/?&=#:;@!$'()*+,~[]"


@attrs.frozen
class Limits:
    """What a download may take."""

    transferred: int = 64 << 20  # octets, as they are sent
    text: int = 256 << 20  # octets, unpacked
    seconds: float = 300.0
    silence: float = 30.0  # seconds without an octet
    redirects: int = 5


@attrs.define
class Reply:
    """An answer with a text, which is read once."""

    version: Version
    octets: int | None  # that come, if the server says so
    text: Iterator[bytes]


@contextmanager
def opened(
    url: str,
    known: Version,
    lookup: Lookup,
    limits: Limits,
    advance: Callable[[int], None] = lambda octets: None,
) -> Iterator[Reply | None]:
    """Ask for a list; None: the known version is the newest one. FetchError, also while reading.

    `advance` is told how many octets have come. Proxies of the environment are not used.
    """
    with _Line(limits) as line:
        try:
            yield line.get(url, known, lookup, advance)
        except FetchError:
            raise
        except Exception as error:
            raise FetchError(line.reason(error)) from error


def _no_certificate(error: Exception) -> str:
    why = str(getattr(error, "verify_message", error)).removesuffix(".")
    remedy = " (is ca-certificates installed?)" if "local issuer" in why else ""
    return f"has no valid certificate: {why}{remedy}"


_CUT_OFF = "is cut off: the connection ended within it"
# The first one that fits counts.
_REASONS: tuple[tuple[type[Exception], Callable[[Exception], str]], ...] = (
    (ssl.SSLCertVerificationError, _no_certificate),
    (ssl.SSLEOFError, lambda error: _CUT_OFF),
    (ssl.SSLError, lambda error: f"does not speak TLS ({getattr(error, 'reason', error)})"),
    (http.client.IncompleteRead, lambda error: _CUT_OFF),
    (http.client.RemoteDisconnected, lambda error: "closes the connection without an answer"),
    (
        http.client.HTTPException,
        lambda error: f"does not speak HTTP ({type(error).__name__})",
    ),
    (OSError, lambda error: f"cannot be reached: {getattr(error, 'strerror', None) or error}"),
)


class _Line:
    """One connection after another, until one of the answers is no redirect."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._reply: http.client.HTTPResponse | None = None
        # A server that sends an octet now and then never exceeds a time-out of the socket.
        self._timer = threading.Timer(limits.seconds, self._hang_up)
        self._timer.daemon = True
        self._is_late = False

    def __enter__(self) -> _Line:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._close()

    def get(
        self, url: str, known: Version, lookup: Lookup, advance: Callable[[int], None]
    ) -> Reply | None:
        seen = set()
        for _ in range(self._limits.redirects + 1):
            if url in seen:
                raise FetchError("redirects in a circle")
            seen.add(url)
            place = _place(url)
            reply = self._ask(place, known, lookup)
            if reply.status not in REDIRECTS:
                return self._judge(reply, known, advance)
            target = urljoin(url, reply.getheader("Location") or "")
            if place.scheme == "https" and urlsplit(target).scheme != "https":
                raise FetchError("redirects from https to another protocol")
            if target == url:
                raise FetchError("redirects in a circle")
            url = target
        raise FetchError(f"redirects more than {self._limits.redirects} times")

    def _ask(self, place: SplitResult, known: Version, lookup: Lookup) -> http.client.HTTPResponse:
        self._close()
        host = place.hostname or ""
        port = place.port or PORTS[place.scheme]
        connection = self._connection = http.client.HTTPConnection(host, port)
        connection.default_port = PORTS[place.scheme]
        self._dial(host, port, lookup)
        if place.scheme == "https":
            self._encrypt(host)
        connection.sock = self._socket
        path = quote(place.path or "/", _SAFE) + (place.query and f"?{quote(place.query, _SAFE)}")
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("User-Agent", f"fastdns/{__version__}")
        connection.putheader("Accept-Encoding", "gzip, deflate")
        connection.putheader("Connection", "close")
        if known.etag:
            connection.putheader("If-None-Match", known.etag)
        if known.last_modified:
            connection.putheader("If-Modified-Since", known.last_modified)
        connection.endheaders()
        self._reply = connection.getresponse()
        return self._reply

    def _dial(self, host: str, port: int, lookup: Lookup) -> None:
        failure: OSError = TimeoutError()
        seconds = min(DIAL_SECONDS, self._limits.silence)
        for address in lookup.addresses(host):
            if self._is_late:
                break
            try:
                self._socket = dial(Address(address, port), seconds, socket.SOCK_STREAM)
            except OSError as error:
                failure = error
                continue
            self._socket.settimeout(self._limits.silence)
            return
        raise failure

    def _encrypt(self, host: str) -> None:
        assert self._socket is not None
        # Without ragged ends: else a text that ends with the connection could be cut off.
        encrypted = self._socket = ssl.create_default_context().wrap_socket(
            self._socket,
            server_hostname=host,
            suppress_ragged_eofs=False,
            do_handshake_on_connect=False,
        )
        encrypted.do_handshake()

    def _judge(
        self,
        reply: http.client.HTTPResponse,
        known: Version,
        advance: Callable[[int], None],
    ) -> Reply | None:
        if reply.status == 304 and known != Version():
            return None
        if reply.status != 200:
            raise FetchError(f"answers {reply.status} {reply.reason}".rstrip())
        if (reply.length or 0) > self._limits.transferred:
            raise FetchError(f"is larger than {spell_size(self._limits.transferred)}")
        encoding = (reply.getheader("Content-Encoding") or "").strip().lower()
        version = Version(reply.getheader("ETag") or "", reply.getheader("Last-Modified") or "")
        pieces = self._pieces(reply, advance)
        text = self._told(unpacked(pieces, encoding, self._limits.text))
        return Reply(version, reply.length, text)

    def _pieces(
        self, reply: http.client.HTTPResponse, advance: Callable[[int], None]
    ) -> Iterator[bytes]:
        whole, total = reply.length, 0
        while piece := reply.read1(PIECE):
            total += len(piece)
            if total > self._limits.transferred:
                raise FetchError(f"is larger than {spell_size(self._limits.transferred)}")
            advance(len(piece))
            yield piece
        if self._is_late:
            raise TimeoutError
        if whole is not None and total < whole:
            raise FetchError(f"is cut off after {total:,} of {whole:,} bytes")

    def _told(self, text: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the text. FetchError, not OSError: that is for the disk to which it is written."""
        try:
            yield from text
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(self.reason(error)) from error

    def reason(self, error: Exception) -> str:
        """Return why it failed, in a phrase that goes on after the name of the list."""
        if self._is_late:
            return f"takes longer than {self._limits.seconds:g} s"
        if isinstance(error, TimeoutError):
            return f"sends nothing for {self._limits.silence:g} s"
        for kind, phrase in _REASONS:
            if isinstance(error, kind):
                return phrase(error)
        return f"cannot be read: {type(error).__name__}: {error}"

    def _hang_up(self) -> None:
        self._is_late = True
        if self._socket is not None:
            with suppress(OSError):
                # The socket's own method: that of TLS would not wake the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _close(self) -> None:
        for one in (self._reply, self._connection, self._socket):
            if one is not None:
                one.close()
        self._reply = self._connection = self._socket = None


def _place(url: str) -> SplitResult:
    try:
        place = urlsplit(url)
        _ = place.port
        host = (place.hostname or "").encode("idna").decode()
    except ValueError:  # UnicodeError is one
        raise FetchError(f"has an impossible address: {url}") from None
    if place.scheme not in PORTS or not host:
        raise FetchError(f"redirects to {url[:80]!r}, which is not a web address")
    port = f":{place.port}" if place.port else ""
    return place._replace(netloc=f"[{host}]{port}" if ":" in host else host + port)
