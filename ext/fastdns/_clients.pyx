"""Who may ask, and in which view: compares a client's address with sorted addresses at which that changes.

Each has a value that counts from there on; below the first of them no client may ask. The code that makes the lists
applies the rule of the longest prefix; here it costs nothing. Views by hardware address and name are looked up by
address, too: other code knows which addresses these have.
"""

import socket

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastdns._key cimport lower as lower_case
from fastdns._seen_clients cimport mixed
from fastdns._siphash cimport keyed_hash
from fastdns._wire cimport load64

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
    UNKNOWN = -1                # to KnownClients
    UNSURE = 1 << 16
    VIEW_MASK = UNSURE - 1

KNOWN_CLIENTS_MAX = <int>KNOWN_MAX
# What a client may say it is, by the word before the colon in the configuration.
IDENTITY_KINDS = {"tls": <int>BY_SERVER_NAME, "doh": <int>BY_PATH}


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


cdef class KnownClients:
    """Which clients are in which view by their hardware address or name, as far as known.

    It holds KNOWN_MAX addresses, each with the number of a view; 0: in none by these.
    """

    def __cinit__(self):
        self.seed = keyed_hash(<const uint8_t*>b"known", 5)
        self.slots = <Known*>calloc(KNOWN_SLOTS, sizeof(Known))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)

    def __len__(self):
        return self.count

    def set(self, bytes address not None, uint32_t link, uint16_t view, *, bint is_sure=True):
        """Set the view of an address (16 octets); return False if there is no room for it.

        If it is not sure, Access still tells that this neighbour has to be met.
        """
        cdef Known* slot = self.slot_of(load64(octets16(address)), load64(octets16(address) + 8), link)
        if not slot.is_used:
            if self.count >= KNOWN_MAX:
                return False
            self.count += 1
            slot.high, slot.low, slot.link = load64(octets16(address)), load64(octets16(address) + 8), link
            slot.is_used = True
        slot.view = view
        slot.is_sure = is_sure
        return True

    def view_of(self, bytes address not None, uint32_t link=0):
        """Return the view of an address; None: it is not known."""
        cdef int view = self.find(load64(octets16(address)), load64(octets16(address) + 8), link)
        return None if view == UNKNOWN else view & VIEW_MASK

    def remove(self, bytes address not None, uint32_t link=0):
        """Forget an address."""
        cdef Known* slot = self.slot_of(load64(octets16(address)), load64(octets16(address) + 8), link)
        cdef size_t at, hole
        if not slot.is_used:
            return
        self.count -= 1
        # Those behind it move up, as far as they may, so that a look-up can end at the first free slot.
        hole = at = <size_t>(slot - self.slots)
        while True:
            at = (at + 1) % KNOWN_SLOTS
            slot = &self.slots[at]
            if not slot.is_used:
                break
            if (at - self.place_of(slot.high, slot.low)) % KNOWN_SLOTS >= (at - hole) % KNOWN_SLOTS:
                self.slots[hole] = slot[0]
                hole = at
        memset(&self.slots[hole], 0, sizeof(Known))

    cdef size_t place_of(self, uint64_t high, uint64_t low) noexcept nogil:
        return <size_t>(mixed(high, low, self.seed) % KNOWN_SLOTS)

    cdef Known* slot_of(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil:
        """The slot that has this address, or the free one where it belongs."""
        cdef size_t at = self.place_of(high, low)
        cdef Known* slot = &self.slots[at]
        while slot.is_used and (slot.low != low or slot.high != high or slot.link != link):
            at = (at + 1) % KNOWN_SLOTS
            slot = &self.slots[at]
        return slot

    cdef int find(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil:
        cdef Known* slot = self.slot_of(high, low, link)
        if not slot.is_used:
            return UNKNOWN
        return slot.view if slot.is_sure else slot.view | <int>UNSURE


cdef const uint8_t* octets16(bytes address) except NULL:
    if len(address) != 16:
        raise ValueError("not an address of 16 bytes")
    return <const uint8_t*>PyBytes_AS_STRING(address)


cdef int compare(const Identity* one, const Identity* other) noexcept nogil:
    """Below 0: this one comes before the other; 0: both are the same."""
    if one.kind != other.kind:
        return <int>one.kind - <int>other.kind
    if one.length != other.length:
        return <int>one.length - <int>other.length
    return memcmp(one.name, other.name, one.length)


cdef class Access:
    """Says for each client whether it may ask, and in which view it is; never changes.

    Each list is sorted (else ValueError): (address, value from there on), of IPv4, of IPv6, of IPv6 for link-local
    clients on one of the interfaces `links`. A value is made of MAY_ASK, IS_EXACT, IS_NEIGHBOUR and the number of a
    view, by `span_value`. `known`: views by other than addresses. `drops`: refused clients get no answer, instead of
    REFUSED. `identities`: (kind, name, view), each of them once, in any order; a kind is one of IDENTITY_KINDS. They
    count before all else that says in which view a client is.
    """

    def __cinit__(
        self, narrow, wide, near=(), links=(), *, bint drops=False, KnownClients known=None, identities=()
    ):
        self.drops = drops
        self.known = known
        self.narrow = numbers([address for address, _ in narrow], &self.narrow_count)
        self.narrow_values = values(narrow)
        self.wide = addresses([address for address, _ in wide], &self.wide_count)
        self.wide_values = values(wide)
        self.near = addresses([address for address, _ in near], &self.near_count)
        self.near_values = values(near)
        self.links = numbers(links, &self.links_count)
        self.take_identities(identities)

    def __dealloc__(self):
        free(self.identities)
        free(self.narrow)
        free(self.narrow_values)
        free(self.wide)
        free(self.wide_values)
        free(self.near)
        free(self.near_values)
        free(self.links)

    cdef int take_identities(self, several) except -1:
        cdef Identity* one
        several = sorted((kind, len(name), name, view) for kind, name, view in several)
        self.identity_names = [name for _, _, name, _ in several]
        self.identities = <Identity*>reserve(len(several), sizeof(Identity))
        for kind, length, name, view in several:
            if not 0 < length <= IDENTITY_MAX or name != name.lower():
                raise ValueError(f"{name!r} cannot be compared")
            one = &self.identities[self.identities_count]
            one.name = <const uint8_t*>PyBytes_AS_STRING(name)
            one.kind, one.length, one.view = kind, length, view
            self.identities_count += 1
        if self.identities_count > 0xffff:
            raise ValueError("there are too many names")
        return 0

    cdef uint16_t identity_of(self, int kind, const char* name, size_t length) noexcept nogil:
        cdef Identity wanted
        cdef uint8_t folded[IDENTITY_MAX]
        cdef size_t low = 0
        cdef size_t high = self.identities_count
        cdef size_t middle, i
        cdef int order
        if high == 0 or length > IDENTITY_MAX:
            return 0
        for i in range(length):
            folded[i] = lower_case(<uint8_t>name[i])
        wanted.name = folded
        wanted.kind = <uint8_t>kind
        wanted.length = <uint8_t>length
        while low < high:
            middle = (low + high) >> 1
            order = compare(&self.identities[middle], &wanted)
            if order == 0:
                return <uint16_t>(middle + 1)
            if order < 0:
                low = middle + 1
            else:
                high = middle
        return 0

    cdef bint admits(self, const Asker* asker) noexcept nogil:
        return self.value_of(load64(asker.address), load64(asker.address + 8), asker.link) & MAY_ASK

    cdef int admit(self, Asker* asker) noexcept nogil:
        cdef uint64_t high = load64(asker.address)
        cdef uint64_t low = load64(asker.address + 8)
        cdef uint32_t value = self.value_of(high, low, asker.link)
        cdef int view
        asker.view = <uint16_t>(value >> VIEW_SHIFT)
        if not value & MAY_ASK:
            return NOT_ADMITTED
        if asker.identity and asker.identity <= self.identities_count and self.identities[asker.identity - 1].view:
            asker.view = self.identities[asker.identity - 1].view
            return ADMITTED
        if self.known is not None and not value & IS_EXACT:
            view = self.known.find(high, low, asker.link if high >> 54 == LINK_LOCAL else 0)
            if view != UNKNOWN and view & VIEW_MASK != 0:
                asker.view = <uint16_t>view
            if value & IS_NEIGHBOUR and (view == UNKNOWN or view & UNSURE):
                return UNMET
        return ADMITTED

    cdef uint32_t value_of(self, uint64_t high, uint64_t low, uint32_t link) noexcept nogil:
        cdef size_t place
        if high == 0 and low >> 32 == MAPPED:
            return self.narrow_values[count_narrow(self.narrow, self.narrow_count, <uint32_t>low)]
        if high >> 54 == LINK_LOCAL:
            place = count_narrow(self.links, self.links_count, link)
            if place > 0 and self.links[place - 1] == link:
                return self.near_values[count_wide(self.near, self.near_count, high, low)]
        return self.wide_values[count_wide(self.wide, self.wide_count, high, low)]

    def admits_client(self, tuple client not None):
        """Return True when the peer of a connection may ask, by its address as Python has it."""
        cdef Asker asker
        name_asker(client, &asker)
        return self.admit(&asker) != NOT_ADMITTED

    def view_of_client(self, tuple client not None, int kind=0, bytes name=b""):
        """Return the number of a client's view, by its address as Python has it; 0: it is in none.

        `kind` of IDENTITY_KINDS, and `name`: what it has asked for.
        """
        cdef Asker asker
        name_asker(client, &asker)
        asker.identity = self.identity_of(kind, PyBytes_AS_STRING(name), len(name))
        self.admit(&asker)
        return asker.view


def span_value(bint may_ask, uint16_t view=0, *, bint is_exact=False, bint is_neighbour=False):
    """Return the value of the addresses from one on: for Access."""
    return (
        (MAY_ASK if may_ask else 0) | (IS_EXACT if is_exact else 0) | (IS_NEIGHBOUR if is_neighbour else 0)
        | <uint32_t>view << VIEW_SHIFT
    )


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


cdef uint32_t* values(spans) except NULL:
    """The value at each number of addresses that are not above a client's; 0: nobody may ask."""
    cdef size_t count = len(spans)
    cdef uint32_t* room = <uint32_t*>reserve(count + 1, sizeof(uint32_t))
    cdef size_t i
    room[0] = 0
    try:
        for i in range(count):
            room[i + 1] = spans[i][1]
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
