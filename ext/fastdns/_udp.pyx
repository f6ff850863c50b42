"""Batches of UDP packets: one system call reads up to 64 queries, one sends their answers."""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #include <netinet/in.h>
    #include <poll.h>
    #include <string.h>

    /* An answer leaves from the address that was asked (RFC 2181 section 4.1), by whatever
       interface the route says: only a link-local address needs the interface that the query came by.
       The kernel takes nothing else of what it tells: it would refuse to send. */
    static size_t fastdns_answer_from(struct msghdr *header, unsigned char *out)
    {
        struct cmsghdr *c;
        for (c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                info.ipi_ifindex = 0;
                memcpy(CMSG_DATA(c), &info, sizeof info);
                memcpy(out, c, CMSG_SPACE(sizeof info));
                return CMSG_SPACE(sizeof info);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
                    info.ipi6_ifindex = 0;
                memcpy(CMSG_DATA(c), &info, sizeof info);
                memcpy(out, c, CMSG_SPACE(sizeof info));
                return CMSG_SPACE(sizeof info);
            }
        }
        return 0;
    }
    """
    size_t fastdns_answer_from(msghdr* header, uint8_t* out) nogil

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLOUT
    int poll(pollfd* fds, unsigned long count, int timeout)

cdef enum:
    PATIENCE_MS = 5         # for a full send buffer; longer would keep the other clients waiting


cdef bint kernel_is_busy() noexcept nogil:
    return errno == EAGAIN or errno == ENOBUFS or errno == EINTR


cdef void wait_for_room(int fd) noexcept nogil:
    cdef pollfd entry
    entry.fd = fd
    entry.events = <short>POLLOUT
    entry.revents = 0
    poll(&entry, 1, PATIENCE_MS)


cdef class Batch:
    def __cinit__(self):
        cdef int i
        self.inbox = <mmsghdr*>calloc(BATCH, sizeof(mmsghdr))
        self.outbox = <mmsghdr*>calloc(BATCH, sizeof(mmsghdr))
        self.parts = <iovec*>calloc(2 * BATCH, sizeof(iovec))
        self.senders = <Sender*>calloc(BATCH, sizeof(Sender))
        self.controls = <uint8_t*>calloc(BATCH, RECEIVED_CONTROL_OCTETS)
        self.queries = <uint8_t*>calloc(BATCH, QUERY_OCTETS)
        self.answers = <uint8_t*>calloc(BATCH, ANSWER_OCTETS)
        if (
            self.inbox == NULL or self.outbox == NULL or self.parts == NULL
            or self.senders == NULL or self.queries == NULL or self.answers == NULL or self.controls == NULL
        ):
            raise MemoryError
        for i in range(BATCH):
            self.parts[i].iov_base = self.queries + i * QUERY_OCTETS
            self.parts[i].iov_len = QUERY_OCTETS
            self.inbox[i].msg_hdr.msg_iov = &self.parts[i]
            self.inbox[i].msg_hdr.msg_iovlen = 1
            self.inbox[i].msg_hdr.msg_name = &self.senders[i].address
            self.inbox[i].msg_hdr.msg_control = self.controls + i * RECEIVED_CONTROL_OCTETS
            self.parts[BATCH + i].iov_base = self.answers + i * ANSWER_OCTETS
            self.outbox[i].msg_hdr.msg_iov = &self.parts[BATCH + i]
            self.outbox[i].msg_hdr.msg_iovlen = 1
        self.used = BATCH

    def __dealloc__(self):
        free(self.inbox)
        free(self.outbox)
        free(self.parts)
        free(self.senders)
        free(self.controls)
        free(self.queries)
        free(self.answers)

    cdef int receive(self, int fd) noexcept nogil:
        cdef int i, count
        cdef msghdr* header
        for i in range(self.used):
            self.inbox[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
            self.inbox[i].msg_hdr.msg_controllen = RECEIVED_CONTROL_OCTETS
        self.used = 0
        self.queued = 0
        count = recvmmsg(fd, self.inbox, BATCH, MSG_DONTWAIT, NULL)
        if count < 0:
            return 0
        self.used = count
        for i in range(count):
            header = &self.inbox[i].msg_hdr
            self.senders[i].address_length = header.msg_namelen
            self.senders[i].control_length = 0
            if header.msg_controllen:
                self.senders[i].control_length = <uint32_t>fastdns_answer_from(
                    header, <uint8_t*>self.senders[i].control
                )
        return count

    cdef const uint8_t* packet(self, int i, size_t* length) noexcept nogil:
        length[0] = self.inbox[i].msg_len
        return self.queries + i * QUERY_OCTETS

    cdef uint8_t* room(self) noexcept nogil:
        return self.answers + self.queued * ANSWER_OCTETS

    cdef void queue(self, int i, size_t length) noexcept nogil:
        self.queue_to(&self.senders[i], length)

    cdef void queue_to(self, Sender* to, size_t length) noexcept nogil:
        cdef msghdr* header = &self.outbox[self.queued].msg_hdr
        header.msg_name = &to.address
        header.msg_namelen = to.address_length
        header.msg_control = to.control if to.control_length else NULL
        header.msg_controllen = to.control_length
        header.msg_iov.iov_len = length
        self.queued += 1

    cdef int send(self, int fd) noexcept nogil:
        cdef int sent = 0
        cdef int lost = 0
        cdef int tries = 0
        cdef int count
        while sent < self.queued:
            count = sendmmsg(fd, self.outbox + sent, self.queued - sent, MSG_DONTWAIT)
            if count > 0:
                sent += count
            elif not kernel_is_busy():
                # This one cannot be sent (its network is gone, a filter forbids it); those after it may be sent.
                sent += 1
                lost += 1
            elif tries < TRIES:
                tries += 1
                wait_for_room(fd)
            else:
                lost += self.queued - sent
                break
        self.queued = 0
        return lost
