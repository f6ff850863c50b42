"""The listening sockets: the supervisor binds them once, and its children serve them.

Each worker has its own UDP socket for each address, and the kernel distributes queries among them
(SO_REUSEPORT). They have the numbers of the workers, and only the last ones are ever closed, so
that the kernel's numbers of them are ours. All workers share a TCP socket.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from contextlib import suppress

import attrs

from ..config.listen import Listen
from ..config.values import Address
from ..errors import StartError
from ..listen.services import DNS, SERVICES, Service
from ..machine.port_owners import holder_of
from ..machine.receive_buffer import enlarge_receive_buffer
from .socket_activation import Pool, bound_address, store_name

log = logging.getLogger(__name__)

BACKLOG = 256
PORT_TRIES = 16

# Not in Python's socket module: <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>,
# <linux/filter.h>.
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68
_PMTUDISC_OMIT = 5  # ignore a path MTU from forged ICMP: RFC 9715 section 3.1
_INSTRUCTION = struct.Struct("@HBBI")  # code, two jumps, operand
_BPF_LOAD_WORD = 0x20
_BPF_MODULO = 0x94
_BPF_UNLESS = 0x15  # if equal; else skip so many instructions
_BPF_RETURN = 0x06
_BPF_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM


@attrs.frozen
class Listener:
    """One service at one listen address, and its sockets: UDP or TCP may be missing."""

    service: Service
    asked: Address  # as configured: with port 0 the kernel chooses a port
    address: Address
    udp: Sequence[
        socket.socket
    ]  # one for each worker; sockets that another program made belong to all workers
    tcp: socket.socket | None
    # Of workers of the last run that this one does not have: queries that wait there must be
    # answered.
    former: Sequence[socket.socket] = ()
    made_as: str | None = None  # the name that the program which made them gave them

    def __str__(self) -> str:
        return self.service.spell(self.address)

    @property
    def sockets(self) -> list[socket.socket]:
        """All of them."""
        return [*([] if self.tcp is None else [self.tcp]), *self.udp, *self.former]

    @property
    def is_divided(self) -> bool:
        """Whether each worker has its own UDP socket."""
        return self.made_as is None

    def udp_of(self, worker: int) -> list[socket.socket]:
        """Return the sockets from which this worker reads."""
        if not self.is_divided:
            return list(self.udp)
        return [*self.udp[worker : worker + 1], *(self.former if worker == 0 else ())]

    def close_others(self, worker: int) -> None:
        """In a worker: close the sockets of others, which would otherwise outlive those."""
        for other in {*self.udp, *self.former}.difference(self.udp_of(worker)):
            other.close()

    def close(self) -> None:
        for one in self.sockets:
            one.close()


def bind_all(listen: Listen, workers: int, pool: Pool) -> list[Listener]:
    """Bind every listen address, with UDP sockets for so many workers, from the pool or new.

    StartError names the obstacle and the remedy. A machine without IPv6 still starts with the
    default addresses.
    """
    bound: list[Listener] = []
    given_up = pool.given_up(wanted_sockets(listen))
    for name, address in listen.addresses:
        service = SERVICES[name]
        try:
            adopted = _adopt(pool, listen, service, address, workers)
            bound.append(adopted or bind(service, address, workers, given_up))
        except OSError as error:
            missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
            is_default = service is DNS and listen.has_default_dns
            if missing and is_default and address.host == "::1":
                log.warning("this machine has no IPv6: not listening on %s", address)
                continue
            raise StartError(why_not(address, error, service)) from error
    return bound


def wanted_sockets(listen: Listen) -> list[tuple[Address, socket.SocketKind]]:
    """Return where to open sockets, and of which kind."""
    return [(one, kind) for name, one in listen.addresses for kind in SERVICES[name].kinds]


def _adopt(
    pool: Pool, listen: Listen, service: Service, asked: Address, workers: int
) -> Listener | None:
    """Return an address with its sockets from the pool; None: there are none.

    OSError: a missing socket cannot be bound.
    """
    address = pool.last(asked, listen, service.name)
    taken = {kind: pool.take(address, kind) for kind in service.kinds}
    udp, tcp = (taken.get(kind, []) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    if not udp and not tcp:
        return None
    for one in udp:
        _prepare_udp(one.bound, address)
    bound = [one.bound for one in udp]
    strange = [one.name for one in (*udp, *tcp) if not one.is_ours]
    if strange:
        if not all(taken.values()):
            log.warning(
                "%s: has no %s socket; the program that opened this address did not open one",
                address,
                "TCP" if udp else "UDP",
            )
        listening = tcp[0].bound if tcp else None
        return Listener(service, asked, address, bound, listening, (), strange[0])
    listening = tcp[0].bound if tcp else _listen(address) if service.streams else None
    read = len(bound)  # so many have a reader now, if any do
    if service.has_udp:
        bound = bound or [_bind_first(address)]
        bound += bind_more(address, bound[0], workers - len(bound))
    listener = Listener(service, asked, address, bound, listening)
    if read and read != workers:  # until all workers serve, the others need no queries
        steer(listener, range(min(read, workers)))
    return attrs.evolve(listener, udp=bound[:workers], former=bound[workers:])


def bind(
    service: Service, address: Address, workers: int, given_up: Sequence[socket.socket] = ()
) -> Listener:
    """Bind the sockets of a service at an address. OSError: impossible; `why_not` explains it.

    Our own sockets that are `given_up` but still open are not an obstacle.
    """
    beside = _overlapping(address, given_up)
    tries = PORT_TRIES if address.port == 0 else 1
    while True:
        tries -= 1
        tcp: socket.socket | None = None
        udp: list[socket.socket] = []
        chosen = address
        try:
            if service.streams:
                tcp = _listen(address, beside.get(socket.SOCK_STREAM))
                # With port 0 the kernel chooses; UDP then takes the same number.
                chosen = attrs.evolve(address, port=tcp.getsockname()[1])
            if service.has_udp:
                udp = [_bind_first(chosen, beside.get(socket.SOCK_DGRAM))]
                chosen = attrs.evolve(address, port=udp[0].getsockname()[1])
                udp += bind_more(chosen, udp[0], workers - 1)
        except OSError:
            for one in (*([] if tcp is None else [tcp]), *udp):
                one.close()
            if tries == 0 or tcp is None:
                raise
            continue
        return Listener(service, address, chosen, udp, tcp)


def _overlapping(
    address: Address, given_up: Sequence[socket.socket]
) -> dict[socket.SocketKind, socket.socket]:
    """Return, of each kind, a socket with this port here, at all addresses, or at one of these.

    An administrator who opens fastdns to the network, or closes it, replaces one address by the
    other.
    """
    found = {}
    for one in given_up:
        there = bound_address(one)
        is_in_the_way = address == address.wildcard or there in (address, there.wildcard)
        if is_in_the_way and (there.family, there.port) == (address.family, address.port):
            found[socket.SocketKind(one.type)] = one
    return found


def _listen(address: Address, beside: socket.socket | None = None) -> socket.socket:
    tcp = _open(address, socket.SOCK_STREAM, beside=beside)
    try:
        tcp.listen(BACKLOG)
    except OSError:
        tcp.close()
        raise
    return tcp


def _bind_first(address: Address, beside: socket.socket | None = None) -> socket.socket:
    """Bind the first UDP socket of an address, so that others can be bound beside it."""
    # Exclusively at first: that finds any other program there, even one with SO_REUSEPORT.
    first = _open(address, socket.SOCK_DGRAM, beside=beside)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return first


def bind_more(address: Address, first: socket.socket, count: int) -> list[socket.socket]:
    """Bind so many more UDP sockets beside the first one. OSError: impossible."""
    bound: list[socket.socket] = []
    try:
        for _ in range(count):
            bound.append(_open(address, socket.SOCK_DGRAM, beside=first))
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def steer(listener: Listener, workers: Sequence[int]) -> None:
    """Let new queries reach the sockets of these workers only, at random."""
    if len(listener.udp) > 1 and listener.is_divided:
        program = _one_of(workers)
        address, octets = program.buffer_info()
        length = octets // _INSTRUCTION.size
        attached = struct.pack("@HP", length, address)
        try:
            listener.udp[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, attached)
        except (
            OSError
        ) as error:  # queries to the other sockets then wait until a process reads them
            log.warning(
                "%s: cannot balance queries between workers: %s", listener.address, error.strerror
            )


def end_steering(listener: Listener) -> None:
    """Let the kernel distribute queries by the client's address and port, as it does by default."""
    if not listener.is_divided or not listener.udp:
        return
    with suppress(OSError):  # there may be no program; Linux 5.2 keeps it, which is harmless
        listener.udp[0].setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)


def to_hand_over(listeners: Sequence[Listener]) -> list[tuple[str, socket.socket]]:
    """Return all sockets by name; the name tells the receiver what each one is."""
    named: list[tuple[str, socket.socket]] = []
    for listener in listeners:
        if listener.made_as is not None:
            named += [(listener.made_as, one) for one in listener.sockets]
            continue
        for number, one in [*enumerate(listener.udp), (0, listener.tcp)]:
            if one is not None:
                kind = socket.SocketKind(one.type)
                name = store_name(listener.address, kind, number, listener.service.name)
                named.append((name, one))
    return named


def _one_of(numbers: Sequence[int]) -> array[int]:
    """Return a classic BPF program that returns one of these numbers at random."""
    instructions = [(_BPF_LOAD_WORD, 0, 0, _BPF_RANDOM), (_BPF_MODULO, 0, 0, len(numbers))]
    for place, number in enumerate(numbers):
        instructions += [(_BPF_UNLESS, 0, 1, place), (_BPF_RETURN, 0, 0, number)]
    instructions.append((_BPF_RETURN, 0, 0, numbers[0]))  # a program must end with a return
    return array("B", b"".join(_INSTRUCTION.pack(*one) for one in instructions))


def give_away(listeners: Sequence[Listener], uid: int) -> None:
    """Let that user bind more sockets beside ours, which only their owner may do."""
    for listener in filter(lambda listener: listener.is_divided, listeners):
        for one in listener.sockets:
            os.fchown(one.fileno(), uid, -1)


def _open(
    address: Address, kind: socket.SocketKind, *, beside: socket.socket | None = None
) -> socket.socket:
    opened = socket.socket(address.family, kind | socket.SOCK_NONBLOCK)
    try:
        if address.family is socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _prepare_udp(opened, address)
        if beside is not None:
            for one in (beside, opened):  # a TCP socket that was alone does not have it yet
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _own_like(opened, beside)
        opened.bind(address.sockaddr)
    except OSError:
        opened.close()
        raise
    return opened


def _own_like(opened: socket.socket, beside: socket.socket) -> None:
    """Give a socket the owner of another one: SO_REUSEPORT works only among sockets of one user."""
    owner = os.fstat(beside.fileno()).st_uid
    if owner != os.fstat(opened.fileno()).st_uid:
        with suppress(PermissionError):  # binding then fails, and that is reported
            os.fchown(opened.fileno(), owner, -1)


def _prepare_udp(opened: socket.socket, address: Address) -> None:
    enlarge_receive_buffer(opened)
    wildcard = address == address.wildcard
    if address.family is socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, int(wildcard))
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, int(wildcard))


def why_not(
    address: Address, error: OSError, service: Service = DNS, *, is_reload: bool = False
) -> str:
    """Return why fastdns cannot listen there, and the remedy."""
    key = f"listen.{service.name}"
    if error.errno == errno.EADDRINUSE:
        command = "ss -lunp" if service.has_udp else "ss -ltnp"
        holder = holder_of(address)
        who = holder or f"another process (root can see which: run this as root, or `{command}`)"
        return (
            f"{address} is in use by {who}; stop it (`fastdns doctor` says how), or choose "
            f"another address in {key} or with --listen {service.spell(f'{address.host}:PORT')}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        if is_reload:
            return (
                f"{address}: a port below 1024 needs root, and this daemon is another user by now; "
                "restart it, or start one that takes over (serve --takeover)"
            )
        return (
            f"{address}: a port below 1024 needs root or CAP_NET_BIND_SERVICE; "
            f"start fastdns with it, or choose another port in {key} or with --listen"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: no interface has this address; name another one in {key}"
    return f"{address}: {error.strerror}; choose another address in {key}"
