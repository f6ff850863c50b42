"""DNS over HTTPS for clients that only speak HTTP/1.1 (RFC 8484, RFC 9112): bytes in, bytes out.

h11 reads and writes the messages. Nothing imports this module before such a client connects:
browsers, phones and curl speak HTTP/2.
"""

from __future__ import annotations

from typing import NamedTuple

import h11

from fastdns._doh import is_message_type, last_forwarded, reason_of, target_of

MESSAGE_MIN, MESSAGE_MAX = 12, 65535
HEADERS_MAX = 16384
# What a client may send beyond the request that waits for its answer.
PIPELINED_MAX = 65536
# Each costs as much as a request: of them, a request and a connection may have so many.
PARTS_MAX = 128  # of a body
MISTAKES_MAX = 8  # requests that have no DNS message

TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
ALLOWED = (b"allow", b"GET, POST")


class Request(NamedTuple):
    """A DNS message, and what else the request says."""

    message: bytes
    client: str  # what follows /dns-query/ in the path
    forwarded: str  # the last X-Forwarded-For header; empty if nobody believes it


class Http1:
    """One connection. It answers wrong requests itself, and closes if the next one cannot be found.

    Requests wait for each other: while one is unanswered, `is_busy` is true and the caller should
    not read from the client.
    """

    def __init__(self, believes_forwarded: bool) -> None:
        self._believes_forwarded = believes_forwarded
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        self._output = bytearray()
        self._begin()
        self.is_closed = False  # the caller closes it after it has sent the output
        self.is_busy = False
        self._has_ended = False
        self._mistakes = 0

    def _begin(self) -> None:
        self._problem = 0
        self._client = self._forwarded = ""
        self._method = b""
        self._body = bytearray()
        self._dropped = 0
        self._parts = 0
        self._message: bytes | None = None
        self._has_begun = False

    @property
    def has_partial(self) -> bool:
        """True if the first part of a request has come, but not the last one."""
        return not self.is_busy and (self._has_begun or bool(self._connection.trailing_data[0]))

    def receive(self, octets: bytes) -> list[Request]:
        """Return the next request if it is complete; it must be answered before there is another.

        No octets at all mean: look at those that came earlier. Call it so after each `respond`.
        """
        if self.is_closed:
            return []
        try:
            if octets:
                self._connection.receive_data(octets)
            if self.is_busy:
                if len(self._connection.trailing_data[0]) > PIPELINED_MAX:
                    self.is_closed = True
                return []
            return self._read()
        except h11.RemoteProtocolError as error:
            self._fail(error.error_status_hint)
        except ValueError:  # a Content-Length of more digits than Python reads; h11 0.14
            self._fail(400)
        return []

    def end(self) -> None:
        """The client sends nothing more."""
        self._has_ended = True
        if not self.is_busy:
            self.is_closed = True

    def respond(self, response: bytes, max_age: int | None) -> None:
        """Answer the request that `receive` has returned."""
        headers = [(b"content-type", b"application/dns-message")]
        if max_age is not None:
            headers.append((b"cache-control", b"max-age=%d" % max_age))
        self._send(200, headers, response)

    def refuse(self, status: int) -> None:
        """Answer the request that `receive` has returned with an error."""
        self._send(status, TEXT, reason_of(status))

    def take_output(self) -> bytes:
        """Return what the client gets next."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # --- reading ----------------------------------------------------------------------------------

    def _read(self) -> list[Request]:
        while not self.is_closed:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._read_headers(event)
            elif isinstance(event, h11.Data):
                self._read_body(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if request := self._judge():
                    self.is_busy = True
                    return [request]
                self._mistakes += 1
                if self._mistakes > MISTAKES_MAX:
                    self._fail(self._problem)
                else:
                    self._refuse()
            else:  # NEED_DATA, PAUSED, ConnectionClosed
                break
        return []

    def _read_headers(self, request: h11.Request) -> None:
        self._has_begun = True
        self._method = request.method
        status, self._client, self._message = target_of(path_of(request.target))
        has_type, length, size = False, 0, 0
        for name, value in request.headers:
            size += len(name) + len(value) + 32
            if name == b"content-type":
                has_type = is_message_type(value)
            elif name == b"content-length":
                length = int(value)
            elif name == b"x-forwarded-for" and self._believes_forwarded:
                self._forwarded = last_forwarded(value).decode("latin-1")
        if size > HEADERS_MAX:
            self._problem = 431
        elif status == 404:
            self._problem = 404
        elif self._method not in (b"GET", b"POST"):
            self._problem = 405
        elif self._method == b"GET":
            self._problem = 400 if self._message is None else status
        elif length > MESSAGE_MAX:
            self._problem = 413
        elif not has_type:
            self._problem = 415
        if length > MESSAGE_MAX:
            self._fail(self._problem or 413)
        elif self._connection.they_are_waiting_for_100_continue and not self._problem:
            self._put(h11.InformationalResponse(status_code=100, headers=[]))

    def _read_body(self, octets: bytes) -> None:
        if self._problem or self._method == b"GET":
            self._dropped += len(octets)
        else:
            self._body += octets
        self._parts += 1
        if max(len(self._body), self._dropped) > MESSAGE_MAX or self._parts > PARTS_MAX:
            self._fail(self._problem or 413)

    def _judge(self) -> Request | None:
        """Return the request if it has a message."""
        message = self._message if self._method == b"GET" else bytes(self._body)
        if self._problem == 0 and not (
            message is not None and MESSAGE_MIN <= len(message) <= MESSAGE_MAX
        ):
            self._problem = 400
        if self._problem or message is None:
            return None
        return Request(message, self._client, self._forwarded)

    # --- writing ----------------------------------------------------------------------------------

    def _refuse(self) -> None:
        headers = [*TEXT, ALLOWED] if self._problem == 405 else TEXT
        self._send(self._problem, headers, reason_of(self._problem))

    def _fail(self, status: int) -> None:
        """Answer with an error, and close: where the next request begins is unknown."""
        if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(status, [*TEXT, (b"connection", b"close")], reason_of(status))
        self.is_closed = True

    def _send(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        self._put(h11.Response(status_code=status, headers=[*headers, length]))
        if self._method != b"HEAD":
            self._put(h11.Data(data=body))
        self._put(h11.EndOfMessage())
        self.is_busy = False
        self._begin()
        states = self._connection.states
        if self._has_ended or set(states.values()) != {h11.DONE}:
            self.is_closed = True
        else:
            self._connection.start_next_cycle()

    def _put(self, event: h11.Event) -> None:
        self._output += self._connection.send(event) or b""


def path_of(target: bytes) -> bytes:
    """Return the path and query of a request target, of an absolute one as well (RFC 9112 3.2.2).

    A proxy may send the absolute form, and a server must accept it.
    """
    if target.startswith((b"https://", b"http://")):
        _, slash, path = target.partition(b"://")[2].partition(b"/")
        return slash + path
    return target
