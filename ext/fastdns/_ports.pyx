"""The sockets from which upstreams are asked: on ports that nobody can guess, each for a while."""

import os

from libc.errno cimport ENOBUFS, errno
from libc.string cimport memset
from posix.unistd cimport close as close_descriptor

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

cdef enum:
    PORT_USES = 256
    PORT_SECONDS = 10

cdef uint64_t SECOND = 1000000000


cdef class Ports:
    """The ports of all upstreams of a process, and the random numbers for them and for ids."""

    def __cinit__(self):
        cdef int i
        for i in range(PORTS_MAX):
            self.at[i].fd = -1
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
        """A number that nobody can guess."""
        if self.random_left == 0:
            # The kernel's generator is ready long before anybody asks; 1,024 octets it gives without interruption.
            while getrandom(self.random, sizeof(self.random), 0) != sizeof(self.random):
                pass
            self.random_left = sizeof(self.random) // sizeof(uint16_t)
        self.random_left -= 1
        return self.random[self.random_left]

    cdef int choose(self, Upstream upstream, uint64_t now_ns):
        """Return the index of a random port of the pool, a new one when it has served its time; -1 with errno."""
        cdef int slot = self.draw() % POOL
        cdef int port = upstream.pool[slot]
        cdef int former
        cdef int i
        if port >= 0:
            if (
                self.at[port].uses < PORT_USES and now_ns - self.at[port].opened_ns < PORT_SECONDS * SECOND
                # Since then its address may not be ours any more, or a filter has forgotten it.
                and self.at[port].opened_ns >= upstream.last_failure_ns
            ):
                return port
        port = self.open(upstream, now_ns)
        if port >= 0 and upstream.is_forgotten:
            self.at[port].is_retired = True     # nobody will come to close it: it is closed when this burst is over
            return port
        if port >= 0:
            former = upstream.pool[slot]    # it may have been closed for this one
            upstream.pool[slot] = port
            if former >= 0:
                self.retire(former)
            return port
        for i in range(POOL):
            if upstream.pool[i] >= 0:
                return upstream.pool[i]
        return -1

    cdef int open(self, Upstream upstream, uint64_t now_ns):
        cdef epoll_event event
        cdef int port = 0
        cdef int fd
        while port < PORTS_MAX and self.at[port].fd >= 0:
            port += 1
        if port == PORTS_MAX:
            port = self.take_idle()
        if port < 0:
            (&errno)[0] = ENOBUFS
            return -1
        try:
            fd = upstream.open_socket()
        except Exception as error:
            (&errno)[0] = <int>(getattr(error, "errno", None) or ENOBUFS)
            return -1
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.fd = port
        if epoll_ctl(self.descriptor, EPOLL_CTL_ADD, fd, &event) != 0:
            close_descriptor(fd)
            return -1
        self.at[port].fd = fd
        self.at[port].serial += 1
        self.at[port].uses = 0
        self.at[port].waiting = 0
        self.at[port].opened_ns = now_ns
        self.at[port].is_retired = False
        self.owners[port] = upstream
        return port

    cdef int take_idle(self) noexcept:
        """Close the oldest port where nothing is waited for and return its index; -1: there is none."""
        cdef Upstream owner
        cdef int found = -1
        cdef int i
        for i in range(PORTS_MAX):
            if self.at[i].waiting == 0 and (found < 0 or self.at[i].opened_ns < self.at[found].opened_ns):
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
        """Let a port send no more, and close it when nothing is waited for there."""
        self.at[port].is_retired = True
        if self.at[port].waiting == 0:
            self.close(port)

    cdef void close(self, int port) noexcept:
        close_descriptor(self.at[port].fd)
        self.at[port].fd = -1
        self.owners[port] = None

    cdef void leave(self, int port) noexcept:
        """One of the queries that it sent is waited for no longer."""
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

    def forget(self, Upstream upstream not None):
        """Send nothing more to it; what is under way may still be answered."""
        cdef int i
        upstream.is_forgotten = True
        for i in range(POOL):
            if upstream.pool[i] >= 0:
                self.retire(upstream.pool[i])
                upstream.pool[i] = -1
