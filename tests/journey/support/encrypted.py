"""DNS over TLS and HTTPS: a certificate, the daemon that has it, and clients that check it."""

from __future__ import annotations

import base64
import http.client
import itertools
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from fastdns._certificate import make_self_signed

from .client import TIMEOUT, Place, TcpClient, read_answer
from .daemon import Fastdns

NAME = "dns.demo"
KIDS = "kids.dns.demo"
DNS_MESSAGE = "application/dns-message"
LISTEN = ("127.0.0.1:0", "tls://127.0.0.1:0", "https://127.0.0.1:0")


@dataclass(frozen=True)
class Service:
    """Where a daemon serves one of its protocols."""

    host: str
    port: int


def service(daemon: Fastdns, name: str) -> Service:
    """Where it serves "tls" or "https"."""
    for host, port in daemon.addresses:
        scheme, _, rest = host.rpartition("://")
        if scheme == name:
            return Service(rest, port)
    raise AssertionError(f"no {name} in {daemon.addresses}")


class CertificateFiles:
    """A certificate of NAME, KIDS and 127.0.0.1, and its key, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate = directory / "fullchain.pem"
        self.key = directory / "privkey.pem"
        self._numbers = itertools.count(1)
        self.renew()

    def renew(self) -> None:
        """Put another pair in place of this one, as certbot does."""
        # With a subject of its own: a client may trust several of them.
        subject = f"certificate{next(self._numbers)}.demo"
        chain, key = make_self_signed([subject, NAME, KIDS, "127.0.0.1"], 30)
        self.pem = chain.decode()
        replace(self.key, key)
        replace(self.certificate, chain)

    @property
    def config(self) -> str:
        """The beginning of a configuration that has them; the next line may be of [listen], too."""
        return f'[listen]\ncertificate = "{self.certificate}"\nkey = "{self.key}"\n'

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A client's, that believes in the certificate of now and offers these by ALPN."""
        return context_for(self.pem, *protocols)


def replace(file: Path, octets: bytes) -> None:
    beside = file.with_suffix(".new")
    beside.write_bytes(octets)
    beside.chmod(0o644)
    beside.replace(file)


def context_for(pem: str, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pem)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def connect(
    place: Place,
    context: ssl.SSLContext | None,
    *,
    name: str = NAME,
    session: ssl.SSLSession | None = None,
    source: str = "127.0.0.1",
    timeout: float = TIMEOUT,
) -> socket.socket:
    """A connection, after its handshake unless `context` is None.

    An end without close_notify is an error when it is read.
    """
    raw = socket.create_connection((place.host, place.port), timeout, source_address=(source, 0))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return raw
    try:
        return context.wrap_socket(
            raw, server_hostname=name, session=session, suppress_ragged_eofs=False
        )
    except BaseException:
        raw.close()
        raise


class TlsClient(TcpClient):
    """A connection of DNS over TLS; `receive` gives None only after an orderly end."""

    def __init__(self, place: Place, context: ssl.SSLContext, **options: object) -> None:
        self.sock = connect(place, context, **options)

    @classmethod
    def over(cls, sock: ssl.SSLSocket) -> TlsClient:
        """One whose handshake the test has done itself."""
        client = cls.__new__(cls)
        client.sock = sock
        return client

    def _read(self, wanted: int) -> bytes | None:
        octets = b""
        while len(octets) < wanted:
            piece = self.sock.recv(wanted - len(octets))
            if not piece:
                assert not octets, f"closed after {len(octets)} of {wanted} octets"
                return None
            octets += piece
        return octets

    def ask(self, query: dns.message.Message) -> dns.message.Message:
        wire = query.to_wire()
        self.send(wire)
        answer = self.receive()
        assert answer is not None, "the connection was closed without an answer"
        return read_answer(wire, answer)


@dataclass
class Response:
    """One over HTTP, as far as it has come."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    reset: int | None = None  # the error of its stream


class Http2Client:
    """A connection of HTTP/2: requests go out and responses come in separately."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, **options: object) -> None:
        self.sock = connect(place, context, **options)
        assert context is None or self.sock.selected_alpn_protocol() == "h2"
        self.host = f"{NAME}:{place.port}"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.responses: dict[int, Response] = {}
        self.goaways: list[h2.events.ConnectionTerminated] = []
        self.has_ended = False  # by the server, orderly
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        is_whole: bool = True,
    ) -> int:
        """Send a request, without its end unless it is whole; return the number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        names = {":method": method, ":scheme": "https", ":authority": self.host, ":path": path}
        ends = is_whole and body is None
        self.h2.send_headers(stream, [*names.items(), *headers], end_stream=ends)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=is_whole)
        self.responses[stream] = Response()
        self.flush()
        return stream

    def get(self, message: bytes, **options: object) -> int:
        return self.request(path_of(message), **options)

    def post(self, message: bytes, path: str = "/dns-query", **options: object) -> int:
        headers = [("content-type", DNS_MESSAGE)]
        return self.request(path, method="POST", body=message, headers=headers, **options)

    def wait_for(self, *streams: int) -> list[Response]:
        """The responses, whole; fail if the server closes before."""
        while not all(self.responses[one].is_over for one in streams):
            assert self.read(), f"closed before all of {streams}: {self.goaways}"
        return [self.responses[one] for one in streams]

    def fetch(self, stream: int) -> Response:
        return self.wait_for(stream)[0]

    def ask(self, query: dns.message.Message) -> dns.message.Message:
        wire = query.to_wire()
        response = self.fetch(self.post(wire))
        assert response.status == 200, response
        return read_answer(wire, response.body)

    def read(self) -> bool:
        """Take what comes next; False: the server has ended the connection, orderly."""
        octets = self.sock.recv(65536)
        if not octets:
            self.has_ended = True
            return False
        for event in self.h2.receive_data(octets):
            self._note(event)
        self.flush()
        return True

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(event)
            return
        response = self.responses.get(getattr(event, "stream_id", None) or 0)
        if response is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers)
            response.status = int(fields.pop(":status"))
            response.headers = fields
        elif isinstance(event, h2.events.DataReceived):
            response.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            response.is_over = True
        elif isinstance(event, h2.events.StreamReset):
            response.is_over, response.reset = True, event.error_code

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def path_of(message: bytes, path: str = "/dns-query") -> str:
    """The target of a GET."""
    return f"{path}?dns={base64.urlsafe_b64encode(message).decode().rstrip('=')}"


class Http1Client(http.client.HTTPConnection):
    """A connection of HTTP/1.1."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, **options: object) -> None:
        super().__init__(place.host, place.port, timeout=TIMEOUT)
        self.sock = connect(place, context, **options)
        self.auto_open = 0  # never connect again

    def ask(self, query: dns.message.Message) -> dns.message.Message:
        wire = query.to_wire()
        self.request("POST", "/dns-query", wire, {"content-type": DNS_MESSAGE})
        response = self.getresponse()
        body = response.read()
        assert response.status == 200, body
        return read_answer(wire, body)


class HandMadeTls:
    """A connection whose records the test passes on itself: in parts, late, or never."""

    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        self.sock = socket.create_connection((place.host, place.port), TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=NAME)

    def do(self, step: Callable[..., object], *arguments: object, size: int = 65536) -> object:
        """Repeat a step of `tls` until it is done; what it sends leaves in parts of this size."""
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                self.send_records(size)
                octets = self.sock.recv(65536)
                if octets:
                    self.incoming.write(octets)
                else:
                    self.incoming.write_eof()
            finally:
                self.send_records(size)

    def send_records(self, size: int = 65536) -> None:
        octets = self.outgoing.read()
        for start in range(0, len(octets), size):
            self.sock.sendall(octets[start : start + size])

    def say_goodbye(self) -> None:
        """Send close_notify, and go on reading."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            self.send_records()

    def __enter__(self) -> HandMadeTls:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
