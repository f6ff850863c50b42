"""Asks at a steady rate until its standard input ends; then prints the results as JSON.

asker.py RATE NAMES: nine in ten ask for h0.example … of that many, the tenth for a new name. Each
query is sent once and is lost if no answer came within five seconds.
"""

import contextlib
import json
import selectors
import socket
import sys
import time

SERVER = ("127.0.0.1", 53)
SOCKETS = 16  # so that every worker gets some
PATIENCE = 5.0
NOERROR = 0


def message(number: int, names: int) -> bytes:
    host = f"n{number}.new" if number % 10 == 0 else f"h{number % names}"
    labels = "".join(f"{chr(len(label))}{label}" for label in f"{host}.example".split("."))
    header = (number & 0xFFFF).to_bytes(2, "big") + bytes.fromhex("01000001000000000000")
    return header + labels.encode() + bytes.fromhex("0000010001")


class Asker:
    def __init__(self, rate: int, names: int) -> None:
        self.rate, self.names = rate, names
        self.sent = self.answered = self.failed = 0
        self.worst = 0.0
        self.due: dict[tuple[int, int], float] = {}  # by socket and id: when it was to be sent
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
        self.selector = selectors.DefaultSelector()
        for one in self.sockets:
            one.setblocking(False)
            one.connect(SERVER)
            self.selector.register(one, selectors.EVENT_READ, self.receive)
        self.selector.register(sys.stdin, selectors.EVENT_READ)

    def send(self, due: float) -> None:
        one = self.sockets[self.sent % SOCKETS]
        self.due[one.fileno(), self.sent & 0xFFFF] = due
        with contextlib.suppress(OSError):  # lost, which shows in the end
            one.send(message(self.sent, self.names))
        self.sent += 1

    def receive(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answer := one.recv(512):
                due = self.due.pop((one.fileno(), int.from_bytes(answer[:2], "big")), None)
                if due is None:
                    continue
                self.answered += 1
                self.failed += answer[3] & 15 != NOERROR
                self.worst = max(self.worst, time.monotonic() - due)

    def wait(self, until: float) -> bool:
        """Read answers until then; return False if standard input has ended."""
        goes_on = True
        while True:
            remains = until - time.monotonic()
            for key, _ in self.selector.select(max(0, remains)):
                if key.data:
                    key.data(key.fileobj)
                else:
                    self.selector.unregister(sys.stdin)
                    goes_on = False
            if remains <= 0 or not goes_on:
                return goes_on

    def run(self) -> None:
        due = time.monotonic()
        while self.wait(due):
            self.send(due)
            due += 1 / self.rate
        deadline = time.monotonic() + PATIENCE
        while self.due and time.monotonic() < deadline:
            self.wait(min(deadline, time.monotonic() + 0.05))


def main() -> None:
    asker = Asker(*map(int, sys.argv[1:3]))
    asker.run()
    figures = {
        "sent": asker.sent,
        "lost": asker.sent - asker.answered,
        "failed": asker.failed,
        "worst_ms": round(asker.worst * 1000, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
