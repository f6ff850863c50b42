"""The plain forwarder: a first version with gevent and dnslib, to compare fastdns with.

A greenlet for each query; a dict as cache; queries for a name that is being asked wait on one
Event; the upstreams of a file take turns. UDP only. Neither tuned nor slowed down.
"""

import argparse
import time
from itertools import cycle
from pathlib import Path

from dnslib import RCODE, DNSRecord
from gevent import socket
from gevent.event import Event
from gevent.server import DatagramServer


class Forwarder(DatagramServer):
    def __init__(self, listen, upstreams):
        super().__init__(listen)
        self.upstreams = cycle(upstreams)
        self.cache = {}  # (name, type) → (expires, answer)
        self.pending = {}  # (name, type) → Event

    def handle(self, data, address):
        query = DNSRecord.parse(data)
        key = (str(query.q.qname).lower(), query.q.qtype)
        answer = self.cached(key) or self.ask_once(key, query)
        if answer is None:
            answer = query.reply()
            answer.header.rcode = RCODE.SERVFAIL
        answer.header.id = query.header.id
        self.socket.sendto(answer.pack(), address)

    def cached(self, key):
        expires, answer = self.cache.get(key, (0, None))
        left = int(expires - time.time())
        if left <= 0:
            return None
        for record in answer.rr:
            record.ttl = left
        return answer

    def ask_once(self, key, query):
        if key in self.pending:
            self.pending[key].wait(2)
            return self.cached(key)
        event = self.pending[key] = Event()
        try:
            answer = self.ask(query)
            ttl = min((record.ttl for record in answer.rr), default=0)
            self.cache[key] = (time.time() + ttl, answer)
            return answer
        except OSError:
            return None
        finally:
            del self.pending[key]
            event.set()

    def ask(self, query):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(1.5)
            upstream.connect(next(self.upstreams))
            upstream.send(query.pack())
            return DNSRecord.parse(upstream.recv(4096))


def address(text):
    host, _, port = text.strip().partition(":")
    return host, int(port or 53)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="a plain caching DNS forwarder")
    options.add_argument("--listen", type=address, default="127.0.0.1:5353")
    options.add_argument("--upstreams", type=Path, default="ip", help="one ADDRESS[:PORT] a line")
    chosen = options.parse_args()
    lines = chosen.upstreams.read_text().splitlines()
    Forwarder(chosen.listen, [address(line) for line in lines if line.strip()]).serve_forever()
