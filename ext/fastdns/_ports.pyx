"""The sockets that ask upstreams: on unpredictable ports (RFC 5452 section 9.2).

A query gets its own port, opened for it and closed with its reply. That costs some microseconds, so the number of ports
in a second is limited: beyond it, a few queries at a time leave by a random port of a pool.
"""

import os
import resource

from libc.errno cimport EADDRINUSE, ENOBUFS, errno
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from posix.unistd cimport close as close_descriptor

from fastdns._clock cimport read_clock_ns

cdef extern from "<sys/random.h>":
    ssize_t getrandom(void* out, size_t length, unsigned int flags)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout)

cdef extern from "<netinet/in.h>" nogil:
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
    struct sockaddr_in6:
        unsigned int sin6_scope_id

cdef extern from "<net/if.h>" nogil:
    unsigned int if_nametoindex(const char* name)

cdef extern from *:
    int SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int socket(int domain, int kind, int protocol) nogil
    int bind(int fd, const sockaddr* address, socklen_t length) nogil
    int connect(int fd, const sockaddr* address, socklen_t length) nogil

cdef enum:
    PORT_USES = 256
    PORT_SECONDS = 10
    FRESH_A_SECOND = 250    # ports of one query each: they cost some thousandths of a CPU
    FRESH_AT_ONCE = 256
    PORTS_MIN = 64
    # Lower ports belong to services, which may need them while a query is in flight.
    PORT_MIN = 16384
    BIND_TRIES = 16

cdef uint64_t SECOND = 1000000000
cdef uint64_t FRESH_NS = 1000000000 // FRESH_A_SECOND


cdef class Route:
    """The path to one upstream over UDP: its address, its ports, and the queries that wait to leave by one of them.

    `peer` is its address as a sockaddr; for a link-local one `interface` is the name.
    """

    def __cinit__(self, bytes peer not None, bytes interface not None):
        cdef int i
        if not 0 < len(peer) <= PEER_MAX:
            raise ValueError("not a sockaddr")
        memcpy(self.peer, <const uint8_t*>peer, len(peer))
        self.peer_length = <unsigned int>len(peer)
        self.interface = interface
        self.port = -1
        for i in range(POOL):
            self.pool[i] = -1
        for i in range(BATCH):
            self.parts[i].iov_base = &self.rooms[i * QUERY_MAX]
            self.outbox[i].msg_hdr.msg_iov = &self.parts[i]
            self.outbox[i].msg_hdr.msg_iovlen = 1


cdef class Ports:
    """The ports of all upstreams of a process, and the random numbers for them and for ids."""

    def __cinit__(self):
        cdef int i
        for i in range(PORTS_MAX):
            self.at[i].fd = -1
            self.unused[i] = i
        self.unused_count = max(PORTS_MIN, min(PORTS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        # A flood of unanswered questions uses only the other three quarters.
        self.for_pools = self.unused_count // 4
        self.owners = [None] * PORTS_MAX
        self.descriptor = epoll_create1(EPOLL_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        cdef int i
        for i in range(PORTS_MAX):
            if self.at[i].fd >= 0:
                close_descriptor(self.at[i].fd)
        if self.descriptor >= 0:
            close_descriptor(self.descriptor)

    cdef uint16_t draw(self) noexcept:
        """An unpredictable number."""
        if self.random_left == 0:
            # The kernel's generator is ready long before this; it gives 1,024 bytes without interruption.
            while getrandom(self.random, sizeof(self.random), 0) != sizeof(self.random):
                pass
            self.random_left = sizeof(self.random) // sizeof(uint16_t)
        self.random_left -= 1
        return self.random[self.random_left]

    cdef bint may_be_fresh(self, uint64_t now_ns) noexcept:
        """Take one from the bucket of fresh ports, if there is one."""
        if self.unused_count <= self.for_pools:
            return False
        self.fresh_from_ns = max(self.fresh_from_ns, now_ns - min(now_ns, FRESH_AT_ONCE * FRESH_NS))
        if self.fresh_from_ns + FRESH_NS > now_ns:
            return False
        self.fresh_from_ns += FRESH_NS
        return True

    cdef int choose(self, Route route, uint64_t now_ns) noexcept:
        """Return the index of a fresh port, or of one in the pool; -1 with errno."""
        cdef int slot, port, former
        cdef int i
        if route.is_forgotten or self.may_be_fresh(now_ns):
            port = self.open(route, now_ns)
            if port >= 0:
                self.at[port].is_retired = True     # it is closed when this query is over
                route.burst = 1
                return port
        route.burst = SHARED_BURST
        slot = self.draw() % POOL
        port = route.pool[slot]
        if port >= 0:
            if (
                self.at[port].uses < PORT_USES and now_ns - self.at[port].opened_ns < PORT_SECONDS * SECOND
                # Its address may not be ours any more, or a firewall has forgotten it.
                and self.at[port].opened_ns >= max(route.given_up_ns, self.given_up_ns)
            ):
                return port
        port = self.open(route, now_ns)
        if port >= 0:
            former = route.pool[slot]    # it may have been closed for this one
            route.pool[slot] = port
            if former >= 0:
                self.retire(former)
            return port
        # No new port is possible: use one of the open ones, a different one each time.
        slot = self.draw() % POOL
        for i in range(POOL):
            port = route.pool[(slot + i) % POOL]
            if port >= 0:
                return port
        return -1

    cdef int open(self, Route route, uint64_t now_ns) noexcept:
        cdef epoll_event event
        cdef int port
        cdef int fd
        if self.unused_count == 0 and self.take_idle() < 0:
            (&errno)[0] = ENOBUFS
            return -1
        fd = self.open_descriptor(route)
        if fd < 0:
            return -1
        port = self.unused[self.unused_count - 1]
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.fd = port
        if epoll_ctl(self.descriptor, EPOLL_CTL_ADD, fd, &event) != 0:
            close_descriptor(fd)
            return -1
        self.unused_count -= 1
        self.at[port].fd = fd
        self.at[port].serial += 1
        self.at[port].uses = 0
        self.at[port].waiting = 0
        self.at[port].opened_ns = now_ns
        self.at[port].is_retired = False
        self.owners[port] = route
        return port

    cdef int open_descriptor(self, Route route) noexcept:
        """Return a socket that is connected to the upstream from a random port; -1 with errno."""
        cdef uint8_t local[PEER_MAX]
        cdef uint16_t number
        cdef int family
        cdef int fd, error
        cdef unsigned int scope
        cdef int _try
        if route.interface:
            scope = if_nametoindex(route.interface)
            if scope == 0:
                return -1
            (<sockaddr_in6*>route.peer).sin6_scope_id = scope
        memset(local, 0, sizeof(local))
        memcpy(local, route.peer, sizeof(uint16_t))      # the family: any address of it
        family = (<sockaddr_in*>local).sin_family
        fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            return -1
        for _try in range(BIND_TRIES):
            # Rejection keeps the choice uniform: 65536 is not a multiple of the number of ports.
            number = self.draw()
            while number >= 65536 - PORT_MIN:
                number = self.draw()
            number += PORT_MIN
            (<sockaddr_in*>local).sin_port = <uint16_t>((number << 8) | (number >> 8))     # sin6_port is there too
            if bind(fd, <const sockaddr*>local, route.peer_length) == 0 or errno != EADDRINUSE:
                break
        # After BIND_TRIES ports in use the kernel chooses one.
        if connect(fd, <const sockaddr*>route.peer, route.peer_length) != 0:
            error = errno
            close_descriptor(fd)
            (&errno)[0] = error
            return -1
        return fd

    cdef int take_idle(self) noexcept:
        """Close the oldest port without a query in flight and return its index; -1: there is none."""
        cdef Route owner
        cdef int found = -1
        cdef int i
        for i in range(PORTS_MAX):
            if self.at[i].fd < 0 or self.at[i].waiting:
                continue
            if found < 0 or self.at[i].opened_ns < self.at[found].opened_ns:
                owner = self.owners[i]
                if owner.queued == 0 or owner.port != i:
                    found = i
        if found >= 0:
            owner = self.owners[found]
            for i in range(POOL):
                if owner.pool[i] == found:
                    owner.pool[i] = -1
            self.close(found)
        return found

    cdef void retire(self, int port) noexcept:
        """Let a port send nothing more, and close it when it has no query in flight."""
        self.at[port].is_retired = True
        if self.at[port].waiting == 0:
            self.close(port)

    cdef void close(self, int port) noexcept:
        close_descriptor(self.at[port].fd)
        self.at[port].fd = -1
        self.owners[port] = None
        self.unused[self.unused_count] = port
        self.unused_count += 1

    cdef void leave(self, int port) noexcept:
        """One of its queries is no longer in flight."""
        self.at[port].waiting -= 1
        if self.at[port].is_retired and self.at[port].waiting == 0:
            self.close(port)

    cdef int look(self, int* ready) noexcept:
        cdef epoll_event events[EVENTS]
        cdef int count = max(epoll_wait(self.descriptor, events, EVENTS, 0), 0)
        cdef int i
        for i in range(count):
            ready[i] = events[i].data.fd
        return count

    def give_up(self):
        """Stop using the ports that are open now, because the network's routes have changed."""
        self.given_up_ns = read_clock_ns()

    def close_idle(self):
        """Close the ports of the pools that have served their time and have no query in flight."""
        cdef uint64_t now_ns = read_clock_ns()
        cdef Route owner
        cdef int i, port
        for port in range(PORTS_MAX):
            if self.at[port].fd < 0 or self.at[port].waiting or self.at[port].is_retired:
                continue
            owner = self.owners[port]
            if now_ns - self.at[port].opened_ns < PORT_SECONDS * SECOND or (owner.queued and owner.port == port):
                continue
            for i in range(POOL):
                if owner.pool[i] == port:
                    owner.pool[i] = -1
            self.close(port)

    def forget(self, Route route not None):
        """Send nothing more to it; queries in flight may still be answered."""
        cdef int i
        route.is_forgotten = True
        for i in range(POOL):
            if route.pool[i] >= 0:
                self.retire(route.pool[i])
                route.pool[i] = -1
