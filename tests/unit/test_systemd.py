"""Messages to and from a service manager: sd_notify, LISTEN_FDS, the store of sockets."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from fastdns.config.values import Address
from fastdns.server.socket_activation import store_name
from fastdns.server.systemd import Manager
from journey.support.manager import ServiceManager

OWN = str(os.getpid())


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path) as manager:
        yield manager


@pytest.fixture
def bound() -> Iterator[Callable[..., socket.socket]]:
    """Make sockets bound to a free port of loopback."""
    made: list[socket.socket] = []

    def make(kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> socket.socket:
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        one.bind((host, 0))
        if kind is socket.SOCK_STREAM:
            one.listen()
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hand_over(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manager]:
    """Make a Manager that finds these sockets where systemd puts descriptors."""

    def take(*sockets: socket.socket, names: str = "", pid: str = OWN, **more: str) -> Manager:
        first = max((one.fileno() for one in sockets), default=0) + 100
        for number, one in enumerate(sockets):
            os.dup2(one.fileno(), first + number)
        monkeypatch.setattr("fastdns.server.systemd.FIRST_DESCRIPTOR", first)
        environment = {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": pid, "LISTEN_FDNAMES": names}
        manager = Manager(environment | more)
        if pid != OWN:
            for number in range(len(sockets)):
                os.close(first + number)
        return manager

    return take


# What it is told


def test_without_a_service_manager_nobody_is_told_anything() -> None:
    manager = Manager({})
    manager.ready("serving")
    manager.keep({"fastdns/x": socket.socket()})
    assert not manager.is_there
    assert manager.handed == []
    assert manager.watchdog_seconds == math.inf


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_told_as_sd_notify_has_them(tmp_path: Path, abstract: bool) -> None:
    with ServiceManager(tmp_path, abstract=abstract) as systemd:
        manager = Manager({"NOTIFY_SOCKET": systemd.address})
        manager.ready("serving 127.0.0.1:53")
        manager.alive()
        manager.succeeded_by(4711)
        manager.stopping()
        systemd.wait_for("STOPPING=1")
        assert systemd.messages[0] == {"READY": "1", "STATUS": "serving 127.0.0.1:53"}
        assert systemd.messages[1] == {"WATCHDOG": "1"}
        assert systemd.main_pid == 4711


def test_a_reload_carries_the_time_that_systemd_compares(systemd: ServiceManager) -> None:
    before = time.monotonic_ns() // 1000
    Manager({"NOTIFY_SOCKET": systemd.address}).reloading()
    told = systemd.wait_for("RELOADING=1")
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_what_it_said_is_taken_out_of_the_environment() -> None:
    said = {
        "NOTIFY_SOCKET": "/nowhere/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": OWN,
        "LISTEN_FDS": "0",
        "LISTEN_PID": OWN,
        "LISTEN_FDNAMES": "",
        "LISTEN_PIDFDID": "1",
    }
    environment = {**said, "PATH": "/bin"}
    Manager(environment)
    assert environment == {"PATH": "/bin"}


def test_a_manager_that_has_gone_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager({"NOTIFY_SOCKET": "/nowhere/notify"})
    manager.ready("serving")
    manager.alive()
    assert len(caplog.records) == 1


def test_a_manager_that_hangs_holds_nobody_up_and_gets_the_sockets_later(
    tmp_path: Path, bound: Callable[..., socket.socket]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hung:
        hung.bind(str(tmp_path / "notify"))
        manager = Manager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        hung.setblocking(False)
        start = time.monotonic()
        for _ in range(2000):
            manager.alive()
        kept = {"fastdns/a": bound()}
        manager.keep(kept)
        assert time.monotonic() - start < 3
        with suppress(BlockingIOError):
            while hung.recv(4096):
                pass
        manager.keep(kept)
        assert hung.recv(4096).startswith(b"FDSTORE=1\nFDNAME=fastdns/a")


def test_a_manager_that_has_made_its_socket_anew_is_found_again(tmp_path: Path) -> None:
    with ServiceManager(tmp_path) as first:
        manager = Manager({"NOTIFY_SOCKET": first.address})
    Path(first.address).unlink()
    with ServiceManager(tmp_path) as second:
        manager.alive()
        second.wait_for("WATCHDOG=1")


def test_an_address_that_is_none_is_said_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager({"NOTIFY_SOCKET": "vsock:2:1234"})
    assert not manager.is_there
    assert "vsock:2:1234" in caplog.text


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": OWN}, 0.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, math.inf),
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_watchdog_is_ours_when_it_means_us(said: dict[str, str], seconds: float) -> None:
    assert Manager(said).watchdog_seconds == seconds


# What it keeps


def test_kept_sockets_come_back_under_their_names(
    systemd: ServiceManager, bound: Callable[..., socket.socket]
) -> None:
    udp, tcp = bound(), bound(socket.SOCK_STREAM)
    Manager({"NOTIFY_SOCKET": systemd.address}).keep({"fastdns/a": udp, "fastdns/b": tcp})
    systemd.wait_for("FDNAME=fastdns/b")
    (kept,) = systemd.stored["fastdns/b"]
    assert kept.getsockname() == tcp.getsockname()
    assert systemd.messages[0]["FDPOLL"] == "0"


def test_only_what_has_changed_is_told(
    systemd: ServiceManager, bound: Callable[..., socket.socket]
) -> None:
    manager = Manager({"NOTIFY_SOCKET": systemd.address})
    one, other, third = bound(), bound(), bound()
    manager.keep({"fastdns/a": one, "fastdns/b": other})
    manager.keep({"fastdns/a": one, "fastdns/c": third})
    manager.alive()
    systemd.wait_for("WATCHDOG=1")
    assert [sorted(message.items())[:2] for message in systemd.messages[2:-1]] == [
        [("FDNAME", "fastdns/b"), ("FDSTOREREMOVE", "1")],
        [("FDNAME", "fastdns/c"), ("FDPOLL", "0")],
    ]
    assert systemd.stored.keys() == {"fastdns/a", "fastdns/c"}


def test_another_socket_under_a_known_name_takes_its_place(
    systemd: ServiceManager, bound: Callable[..., socket.socket]
) -> None:
    manager = Manager({"NOTIFY_SOCKET": systemd.address})
    old, new = bound(), bound()
    manager.keep({"fastdns/a": old})
    manager.keep({"fastdns/a": new})
    manager.alive()
    systemd.wait_for("WATCHDOG=1")
    assert [one.getsockname() for one in systemd.stored["fastdns/a"]] == [new.getsockname()]


def test_what_came_back_and_is_not_kept_any_more_is_removed(
    systemd: ServiceManager,
    bound: Callable[..., socket.socket],
    hand_over: Callable[..., Manager],
) -> None:
    kept, dropped, foreign = bound(), bound(), bound()
    names = "fastdns/a:fastdns/b:dns.socket"
    manager = hand_over(kept, dropped, foreign, names=names, NOTIFY_SOCKET=systemd.address)
    manager.keep({"fastdns/a": kept})
    manager.alive()
    systemd.wait_for("WATCHDOG=1")
    assert systemd.messages[:-1] == [{"FDSTOREREMOVE": "1", "FDNAME": "fastdns/b"}]


def test_two_sockets_under_one_name_are_told_apart_by_storing_anew(
    systemd: ServiceManager,
    bound: Callable[..., socket.socket],
    hand_over: Callable[..., Manager],
) -> None:
    one, other = bound(), bound()
    manager = hand_over(one, other, names="fastdns/a:fastdns/a", NOTIFY_SOCKET=systemd.address)
    manager.keep({"fastdns/a": one})
    manager.alive()
    systemd.wait_for("WATCHDOG=1")
    assert [next(iter(message)) for message in systemd.messages[:-1]] == [
        "FDSTOREREMOVE",
        "FDSTORE",
    ]


# What it hands over


def test_handed_sockets_have_their_names_and_addresses(
    bound: Callable[..., socket.socket], hand_over: Callable[..., Manager]
) -> None:
    udp, tcp = bound(), bound(socket.SOCK_STREAM, "::1")
    manager = hand_over(udp, tcp, names="fastdns/udp/127.0.0.1/53/0:dns.socket")
    first, second = manager.handed
    assert (first.is_ours, second.is_ours) == (True, False)
    assert first.address == Address("127.0.0.1", udp.getsockname()[1])
    assert second.address == Address("::1", tcp.getsockname()[1])
    assert (first.kind, second.kind) == (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    assert not first.bound.getblocking()
    assert not first.bound.get_inheritable()


def test_descriptors_without_names_are_somebody_elses(
    bound: Callable[..., socket.socket], hand_over: Callable[..., Manager]
) -> None:
    (only,) = hand_over(bound()).handed
    assert not only.is_ours


def test_descriptors_meant_for_another_process_are_left_alone(
    bound: Callable[..., socket.socket], hand_over: Callable[..., Manager]
) -> None:
    assert hand_over(bound(), pid="1").handed == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: socket.socket(socket.AF_UNIX), "not an IPv4 or IPv6 socket"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM), "does not listen"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "is not bound"),
        (partial(open, "/dev/null", "rb"), "is not a socket"),
    ],
    ids=["unix", "not_listening", "not_bound", "a_file"],
)
def test_what_cannot_be_served_is_said_and_closed(
    hand_over: Callable[..., Manager],
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], socket.socket],
    said: str,
) -> None:
    with make() as odd:
        assert hand_over(odd, names="fastdns/a").handed == []
    assert said in caplog.text
    assert "fastdns/a" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "fe80::1%br-lan.7"])
def test_a_name_in_the_store_is_one_that_systemd_allows(host: str) -> None:
    name = store_name(Address(host, 53), socket.SOCK_STREAM, 3)
    assert name.startswith("fastdns/tcp/")
    assert ":" not in name
    assert name.isascii()
    assert name.isprintable()
