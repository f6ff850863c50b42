"""The sockets that ask upstreams: on unpredictable ports, each for a while."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._udp cimport BATCH, iovec, mmsghdr

cdef enum:
    PORTS_MAX = 2048        # open at once, of all upstreams; a quarter of the descriptors that we may have
    EVENTS = 32             # handled at once, so that other work gets its turn
    SHARED_BURST = 8        # queries that leave one after another by a port of the pool

    POOL = 64               # ports of one upstream that serve the queries without a port of their own
    PEER_MAX = 28           # octets: a sockaddr_in6
    QUERY_MAX = 288         # header, question and OPT

cdef class Route:
    cdef uint8_t peer[PEER_MAX]         # its sockaddr
    cdef unsigned int peer_length
    cdef bytes interface                # of a link-local address: its number may change
    cdef bint is_forgotten              # a question that began before may still use it
    cdef uint64_t given_up_ns           # its ports that were opened before send nothing more
    cdef int pool[POOL]                 # indices of ports, -1: none
    cdef int port                       # of the burst that is being collected; -1: to be chosen
    cdef int burst                      # queries that may still leave by it
    cdef int queued
    cdef mmsghdr outbox[BATCH]
    cdef iovec parts[BATCH]
    cdef void* queue[BATCH]             # its upstream's; NULL: it is not needed any more
    cdef uint8_t rooms[BATCH * QUERY_MAX]

cdef struct Port:           # a connected socket
    int fd                  # -1: there is none
    uint32_t serial         # of this use of the index
    int uses                # queries that it sent
    int waiting             # of them in flight
    uint64_t opened_ns
    bint is_retired         # sends no more

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass

cdef class Ports:
    cdef readonly int descriptor        # an epoll: readable when a reply waits
    cdef Port at[PORTS_MAX]
    cdef list owners                    # of the ports: Routes
    cdef int unused[PORTS_MAX]          # indices
    cdef int unused_count
    cdef int for_pools                  # of them: those that fresh ports leave free
    cdef uint16_t random[512]
    cdef int random_left
    cdef uint64_t fresh_from_ns         # the bucket of fresh ports: when it was empty, counted back
    cdef uint64_t given_up_ns           # ports that were opened before send nothing more

    cdef uint16_t draw(self) noexcept
    cdef int choose(self, Route route, uint64_t now_ns) noexcept
    # ^ an index, for route.burst queries at most; -1 with errno: none is free
    cdef void leave(self, int port) noexcept
    cdef int look(self, int* ready) noexcept    # the indices of those with replies, at most EVENTS
    # private
    cdef bint may_be_fresh(self, uint64_t now_ns) noexcept
    cdef int open(self, Route route, uint64_t now_ns) noexcept
    cdef int open_descriptor(self, Route route) noexcept
    cdef int take_idle(self) noexcept
    cdef void retire(self, int port) noexcept
    cdef void close(self, int port) noexcept
