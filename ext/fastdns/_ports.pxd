"""The sockets from which upstreams are asked: on ports that nobody can guess, each for a while."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastdns._upstream cimport POOL, Upstream

cdef enum:
    PORTS_MAX = 512         # open at once, of all upstreams
    EVENTS = 8              # looked at in one go: others want their turn, too

cdef struct Port:           # a connected socket
    int fd                  # -1: there is none
    uint32_t serial         # of this use of the index
    int uses                # queries that it sent
    int waiting             # of them under way
    uint64_t opened_ns
    bint is_retired         # sends no more

cdef class Ports:
    cdef readonly int descriptor        # an epoll: readable when a reply waits
    cdef Port at[PORTS_MAX]
    cdef list owners                    # of the ports: keeps upstreams alive
    cdef uint16_t random[512]
    cdef int random_left

    cdef uint16_t draw(self) noexcept
    cdef int choose(self, Upstream upstream, uint64_t now_ns)   # an index; -1 with errno: none is to be had
    cdef void leave(self, int port) noexcept
    cdef int look(self, int* ready) noexcept    # the indices of those with replies, at most EVENTS
    # private
    cdef int open(self, Upstream upstream, uint64_t now_ns)
    cdef int take_idle(self) noexcept
    cdef void retire(self, int port) noexcept
    cdef void close(self, int port) noexcept
