"""Batches of UDP packets: recvmmsg and sendmmsg, and the address that a packet was sent to (IP_PKTINFO)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags

cdef extern from "<netinet/in.h>" nogil:
    struct sockaddr_in6:
        pass

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/socket.h>
    """
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int MSG_DONTWAIT
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout) nogil
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags) nogil

cdef enum:
    BATCH = 64
    TRIES = 3               # to send: a device queue may be full again at once (ENOBUFS)
    # Odd multiples of a cache line: at a power of two all packets of a batch would use the same few lines.
    QUERY_OCTETS = 2112     # of a query that are read; data that a client appends beyond is cut off
    ANSWER_OCTETS = 1344    # room for an answer over UDP
    CONTROL_OCTETS = 40     # IPV6_PKTINFO; of a Sender
    RECEIVED_CONTROL_OCTETS = 256       # a socket that another program opened may report more, like timestamps

ctypedef struct Sender:     # the source of a packet, and the local address that it came to
    uint64_t control[5]     # CONTROL_OCTETS: cmsghdr wants this alignment
    sockaddr_in6 address    # or a sockaddr_in
    socklen_t address_length
    uint32_t control_length

cdef class Batch:
    # Received packets are numbered from 0; answers are written into `room` and stay until `send`.
    cdef mmsghdr* inbox
    cdef mmsghdr* outbox
    cdef iovec* parts       # of inbox, then of outbox
    cdef Sender* senders
    cdef uint8_t* controls
    cdef uint8_t* queries
    cdef uint8_t* answers
    cdef int used           # of inbox, to be made ready for the next receive
    cdef int queued

    cdef int receive(self, int fd) noexcept nogil                   # how many packets; 0: none, or an error
    cdef const uint8_t* packet(self, int i, size_t* length) noexcept nogil
    cdef uint8_t* room(self) noexcept nogil                         # ANSWER_OCTETS for the next answer
    cdef void queue(self, int i, size_t length) noexcept nogil      # the answer in room goes to the sender of packet i
    cdef void queue_to(self, Sender* to, size_t length) noexcept nogil  # the same for a sender from another time
    cdef int send(self, int fd) noexcept nogil                      # how many answers could not be sent

cdef bint kernel_is_busy() noexcept nogil           # depends on errno: sending may be tried again
cdef void wait_for_room(int fd) noexcept nogil      # a few milliseconds at most
