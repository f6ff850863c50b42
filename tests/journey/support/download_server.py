"""A web server that has lists, and serves each in its own bad way; over TLS if told so."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Its own certificate, for lists.example: of itself, so that it is also who vouches for it.
CERTIFICATE = Path(__file__).with_name("lists.example.pem")
NAME = "lists.example"


class Request(BaseHTTPRequestHandler):
    """One request; what it does is chosen by its path."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append(self)
        self.server.behaviours.get(self.path, missing)(self)

    def reply(self, body: bytes, status: int = 200, **headers: str | int) -> None:
        """Send a whole answer; `headers` with _ in place of -."""
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


Behaviour = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    behaviours: dict[str, Behaviour]
    requests: list[Request]

    def handle_error(self, *_: object) -> None:
        """Clients leave in the middle, which is what tests are about."""


class DownloadServer:
    """Runs in a `with` block at host:port; `on` says what a path does."""

    def __init__(self, *, tls: bool = False) -> None:
        self._server = _Server(("127.0.0.1", 0), Request)
        self._server.behaviours, self._server.requests = {}, []
        self.host, self.port = "127.0.0.1", self._server.server_address[1]
        self.closing = threading.Event()
        self._scheme = "http"
        if tls:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def url(self, path: str, host: str = NAME) -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def on(self, path: str, behaviour: Behaviour) -> str:
        """From now on do this for a path; return its URL."""
        self._server.behaviours[path] = behaviour
        return self.url(path)

    def requests(self, path: str) -> list[Request]:
        """All requests for a path."""
        return [one for one in self._server.requests if one.path == path]

    def silence(self, _request: Request) -> None:
        """Accept, and say nothing."""
        self.closing.wait(60)

    def __enter__(self) -> DownloadServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def missing(request: Request) -> None:
    request.reply(b"nothing here", 404)


def broken(request: Request) -> None:
    request.reply(b"sorry", 500)


def text(content: bytes, **headers: str) -> Behaviour:
    return lambda request: request.reply(content, **headers)


def packed(content: bytes, encoding: str = "gzip") -> Behaviour:
    return lambda request: request.reply(gzip.compress(content), Content_Encoding=encoding)


def half(content: bytes) -> Behaviour:
    """Announce all and send half."""

    def behave(request: Request) -> None:
        request.reply(content[: len(content) // 2], Content_Length=len(content))

    return behave


def half_packed(content: bytes) -> Behaviour:
    whole = gzip.compress(content)
    return lambda request: request.reply(whole[: len(whole) // 2], Content_Encoding="gzip")


def unchanged_if_known(content: bytes, etag: str) -> Behaviour:
    """Answer 304 to whoever knows the ETag."""

    def behave(request: Request) -> None:
        if request.headers["If-None-Match"] == etag:
            request.send_response(304)
            request.end_headers()
        else:
            request.reply(content, ETag=etag)

    return behave


def redirect(target: str, status: int = 302) -> Behaviour:
    return lambda request: request.reply(b"", status, Location=target)


def zeros(octets: int) -> Behaviour:
    """So many zeros, in chunks, without saying how many."""

    def behave(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        piece = bytes(1 << 20)
        for _ in range(octets >> 20):
            request.wfile.write(b"100000\r\n%b\r\n" % piece)
        request.wfile.write(b"0\r\n\r\n")

    return behave


def packed_zeros(octets: int) -> Behaviour:
    """A small file that unpacks to so many zeros."""
    piece = gzip.compress(bytes(1 << 24))
    return lambda request: request.reply(piece * (octets >> 24), Content_Encoding="gzip")
