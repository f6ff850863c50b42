"""Who may ask: compares a client's address with sorted addresses at which the answer changes.

Below the first of them no client may ask; from the first on every client may, from the second on none, and so on. The
code that makes the lists applies the rule of the longest prefix; here it costs nothing.
"""

import socket

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "<netinet/in.h>" nogil:
    int AF_INET
    uint16_t ntohs(uint16_t number)
    struct sockaddr:
        unsigned short sa_family
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id

cdef enum:
    MAPPED = 0xffff             # of ::ffff:0:0/96, an IPv4 client of an IPv6 socket (RFC 4291 section 2.5.5.2)
    LINK_LOCAL = 0x3fa          # the first ten bits of fe80::/10


cdef inline size_t count_narrow(const uint32_t* sorted, size_t count, uint32_t address) noexcept nogil:
    """How many are not above the address."""
    cdef size_t low = 0
    cdef size_t high = count
    cdef size_t middle
    while low < high:
        middle = (low + high) >> 1
        if sorted[middle] <= address:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline size_t count_wide(const Wide* sorted, size_t count, uint64_t upper, uint64_t lower) noexcept nogil:
    """How many are not above the address."""
    cdef size_t low = 0
    cdef size_t high = count
    cdef size_t middle
    while low < high:
        middle = (low + high) >> 1
        if sorted[middle].high < upper or (sorted[middle].high == upper and sorted[middle].low <= lower):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline uint64_t load64(const uint8_t* at) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(8):
        number = number << 8 | at[i]
    return number


cdef void read_asker(const void* address, Asker* out) noexcept nogil:
    cdef const sockaddr_in* four = <const sockaddr_in*>address
    cdef const sockaddr_in6* six = <const sockaddr_in6*>address
    memset(out, 0, sizeof(Asker))
    if (<const sockaddr*>address).sa_family == AF_INET:
        out.address[10] = out.address[11] = 0xff
        memcpy(out.address + 12, &four.sin_addr, 4)
        out.port = ntohs(four.sin_port)
    else:
        memcpy(out.address, six.sin6_addr.s6_addr, 16)
        out.link = six.sin6_scope_id
        out.port = ntohs(six.sin6_port)


cdef class Access:
    """Says for each client whether it may ask; never changes.

    Each list is sorted (else ValueError): addresses of IPv4, of IPv6, of IPv6 for link-local clients on one of the
    interfaces `links`. `drops`: refused clients get no answer, instead of REFUSED.
    """

    def __cinit__(self, narrow, wide, near=(), links=(), *, bint drops=False):
        self.drops = drops
        self.narrow = numbers(narrow, &self.narrow_count)
        self.wide = addresses(wide, &self.wide_count)
        self.near = addresses(near, &self.near_count)
        self.links = numbers(links, &self.links_count)

    def __dealloc__(self):
        free(self.narrow)
        free(self.wide)
        free(self.near)
        free(self.links)

    cdef bint admits(self, const Asker* asker) noexcept nogil:
        return self.admits_wide(load64(asker.address), load64(asker.address + 8), asker.link)

    cdef bint admits_narrow(self, uint32_t address) noexcept nogil:
        return count_narrow(self.narrow, self.narrow_count, address) & 1

    cdef bint admits_wide(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil:
        cdef size_t place
        if high == 0 and low >> 32 == MAPPED:
            return self.admits_narrow(<uint32_t>low)
        if high >> 54 == LINK_LOCAL:
            place = count_narrow(self.links, self.links_count, link)
            if place > 0 and self.links[place - 1] == link:
                return count_wide(self.near, self.near_count, high, low) & 1
        return count_wide(self.wide, self.wide_count, high, low) & 1

    def admits_client(self, tuple client not None):
        """Return True when the peer of a connection may ask, by its address as Python has it."""
        cdef Asker asker
        name_asker(client, &asker)
        return bool(self.admits(&asker))


cdef int name_asker(tuple client, Asker* out) except -1:
    cdef bytes packed
    host = client[0].partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6, host if ":" in host else "::ffff:" + host)
    memset(out, 0, sizeof(Asker))
    memcpy(out.address, PyBytes_AS_STRING(packed), 16)
    out.port = client[1]
    out.link = client[3] if len(client) > 3 else 0
    return 0


cdef uint32_t* numbers(rising, size_t* count) except? NULL:
    cdef uint32_t* room = <uint32_t*>reserve(len(rising), sizeof(uint32_t))
    cdef size_t i
    count[0] = len(rising)
    try:
        check(rising)
        for i in range(count[0]):
            room[i] = rising[i]
    except BaseException:
        free(room)
        raise
    return room


cdef Wide* addresses(rising, size_t* count) except? NULL:
    cdef Wide* room = <Wide*>reserve(len(rising), sizeof(Wide))
    cdef size_t i
    count[0] = len(rising)
    try:
        check(rising)
        for i in range(count[0]):
            room[i].high = rising[i] >> 64
            room[i].low = rising[i] & 0xFFFFFFFFFFFFFFFF
    except BaseException:
        free(room)
        raise
    return room


cdef void* reserve(size_t count, size_t octets) except NULL:
    cdef void* room = malloc(count * octets + 1)    # + 1: of nothing as well
    if room == NULL:
        raise MemoryError
    return room


cdef int check(rising) except -1:
    for former, later in zip(rising, rising[1:]):
        if former >= later:
            raise ValueError("these addresses do not rise")
    return 0
