"""The conversation of a takeover, each side against the other, without the daemon around it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastdns.config.places import Places
from fastdns.errors import StartError
from fastdns.server import handover
from fastdns.server.control_socket import Caller
from fastdns.server.handover import Handover, Successor
from fastdns.server.loop import Loop
from fastdns.server.takeover import READY, STOP, TAKEOVER, Predecessor, find

LOOP = Loop()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path, tmp_path / "run")
    places.run_dir.mkdir()
    places.lock.write_text("1\n")
    return places


def caller(connection: socket.socket) -> Caller:
    """Who has connected, at a control_socket without a supervisor."""
    return Caller(connection, LOOP)


class RunningInstance:
    """The other side of `find`: it accepts one connection and does with it what a test says."""

    def __init__(self, places: Places, act: Callable[[Successor], None]) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(places.supervisor))
        self._listener.listen()
        self._act = act
        self.lock = os.open(places.lock, os.O_RDWR)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        successor = Successor(caller(connection))
        assert wait(successor) == TAKEOVER
        self._act(successor)
        successor.close()

    def close(self) -> None:
        self.thread.join(10)
        self._listener.close()
        self.udp.close()
        os.close(self.lock)


def wait(successor: Successor) -> str | None:
    """What it says next."""
    while (said := successor.says()) is None:
        time.sleep(0.001)
    return said


@pytest.fixture
def run(places: Places) -> Iterator[Callable[[Callable[[Successor], None]], RunningInstance]]:
    running: list[RunningInstance] = []

    def start(act: Callable[[Successor], None]) -> RunningInstance:
        running.append(RunningInstance(places, act))
        return running[-1]

    yield start
    for one in running:
        one.close()


def close(predecessor: Predecessor) -> None:
    os.close(predecessor.lock)
    for one in predecessor.handed:
        one.bound.close()


def test_where_nobody_runs_nobody_is_found(places: Places) -> None:
    assert find(places) is None


def test_a_socket_that_a_killed_instance_has_left_is_nobody(places: Places) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(places.supervisor))
    assert find(places) is None


def test_lock_sockets_and_the_managers_words_go_to_the_successor(
    places: Places, run: Callable[..., RunningInstance]
) -> None:
    outcome: list[bool] = []

    def act(successor: Successor) -> None:
        successor.give(instance.lock, [("fastdns/udp/x/0", instance.udp)], {"NOTIFY_SOCKET": "@x"})
        assert wait(successor) == STOP
        outcome.append(successor.serves())
        successor.dismiss()

    instance = run(act)
    found = find(places)
    assert found is not None
    assert found.pid == os.getpid()
    assert os.path.samestat(os.fstat(found.lock), os.stat(places.lock))
    assert [one.name for one in found.handed] == ["fastdns/udp/x/0"]
    assert found.handed[0].bound.getsockname() == instance.udp.getsockname()
    assert found.environment == {"NOTIFY_SOCKET": "@x"}
    assert found.stop()
    found.dismiss()
    instance.thread.join(10)
    assert outcome == [True]
    close(found)


def test_more_sockets_go_over_than_fit_into_a_message(
    places: Places, run: Callable[..., RunningInstance]
) -> None:
    sockets: list[tuple[str, socket.socket]] = []

    def act(successor: Successor) -> None:
        for number in range(450):
            sockets.append((f"fastdns/udp/{number}", instance.udp.dup()))
        successor.give(instance.lock, sockets, {})

    instance = run(act)
    found = find(places)
    assert found is not None
    assert [one.name for one in found.handed] == [name for name, _ in sockets]
    close(found)
    for _, one in sockets:
        one.close()


def test_a_lock_of_another_state_directory_is_refused(
    places: Places, run: Callable[..., RunningInstance], tmp_path: Path
) -> None:
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    run(lambda successor: successor.give(other, [], {}))
    with pytest.raises(StartError, match="another state_dir"):
        find(places)
    os.close(other)


@pytest.mark.parametrize(
    "answer", [b"ok\n", b"ok []\n", b'ok {"names": []}\n', b'ok {"names": 5, "environment": {}}\n']
)
def test_an_answer_that_is_not_understood_is_said(
    places: Places, run: Callable[..., RunningInstance], answer: bytes
) -> None:
    def act(successor: Successor) -> None:
        successor._connection.sendall(answer)

    run(act)
    with pytest.raises(StartError, match="cannot understand"):
        find(places)


def test_a_refusal_is_passed_on_with_the_remedy(
    places: Places, run: Callable[..., RunningInstance]
) -> None:
    def act(successor: Successor) -> None:
        successor._connection.sendall(b"error not a request\n")

    run(act)
    with pytest.raises(StartError, match=r"not a request.*without --takeover"):
        find(places)


def test_an_instance_that_ends_instead_of_answering_is_nobody(
    places: Places, run: Callable[..., RunningInstance]
) -> None:
    run(lambda successor: None)
    assert find(places) is None


def test_an_instance_that_hangs_up_instead_of_stopping_is_said(
    places: Places, run: Callable[..., RunningInstance]
) -> None:
    def act(successor: Successor) -> None:
        successor.give(instance.lock, [], {})
        wait(successor)

    instance = run(act)
    found = find(places)
    assert found is not None
    assert not found.stop()
    close(found)


def test_who_is_not_of_our_unit_is_told_to_restart_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_is_in_our_unit", lambda pid: pid != os.getpid())
    ours, theirs = socket.socketpair()
    begun = Handover(LOOP, -1, hand_over=lambda _: None, give_up=lambda: None)
    begun.begin(caller(ours), [], {"NOTIFY_SOCKET": "@x"})
    with theirs:
        assert b"restart the unit" in theirs.recv(1000)
        assert theirs.recv(1000) == b""


def test_every_process_is_in_its_own_unit() -> None:
    assert handover._is_in_our_unit(os.getpid())


# The successor fails


def successor_that(
    act: Callable[[socket.socket], None], hold: float = 0.0
) -> tuple[Successor, int]:
    """A child process that connects, acts and then holds its end for a while; its pid, too."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # an abstract name of the kernel's choice
        listener.listen()
        pid = os.fork()
        if pid == 0:
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(listener.getsockname())
                act(connection)
                time.sleep(hold)
            finally:
                os._exit(0)
        connection, _ = listener.accept()
    return Successor(caller(connection)), pid


def test_a_successor_that_ends_is_seen_at_once() -> None:
    successor, pid = successor_that(lambda connection: None)
    assert successor.pid == pid
    start = time.monotonic()
    assert not successor.serves()
    assert time.monotonic() - start < 2
    successor.close()
    os.waitpid(pid, 0)


def test_a_successor_that_says_something_else_is_not_believed() -> None:
    successor, pid = successor_that(lambda connection: connection.sendall(b"steady\n"), hold=60)
    assert not successor.serves()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    successor.close()


def test_a_silent_successor_is_killed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.2)
    successor, pid = successor_that(lambda connection: None, hold=60)
    assert not successor.serves()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    successor.close()


def test_children_of_a_successor_that_died_are_waited_for() -> None:
    def leave_a_child(connection: socket.socket) -> None:
        if os.fork() == 0:
            time.sleep(0.4)

    successor, pid = successor_that(leave_a_child)
    start = time.monotonic()
    assert not successor.serves()
    assert time.monotonic() - start > 0.3
    successor.close()
    os.waitpid(pid, 0)


def test_a_successor_that_serves_is_told_goodbye() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(f"{READY}\n".encode())
        os._exit(0 if connection.recv(100) == b"bye\n" else 1)

    successor, pid = successor_that(serve)
    assert successor.serves()
    successor.dismiss()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    successor.close()
