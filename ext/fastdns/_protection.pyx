"""What [protect] says of answers."""

from libc.stdlib cimport calloc, free

from fastdns._domains cimport Suffix, find_suffixes
from fastdns._wire cimport ADDRESSES_MAX, load64


cdef inline bint is_below(const uint64_t* one, const uint64_t* other) noexcept nogil:
    return one[0] < other[0] or (one[0] == other[0] and one[1] < other[1])


cdef class Protection:
    """What [protect] says. `bogus`: spans of addresses as (first, last), 16 bytes each, sorted and without overlaps."""

    def __cinit__(self, *, bint rebind=False, DomainSet rebind_allow=None, bogus=(), bint minimal_any=False):
        cdef bytes first, last
        cdef Span* span
        self.rebind = rebind
        self.rebind_allow = DomainSet() if rebind_allow is None else rebind_allow
        self.minimal_any = minimal_any
        self.bogus = <Span*>calloc(max(len(bogus), 1), sizeof(Span))
        if self.bogus == NULL:
            raise MemoryError
        for first, last in bogus:
            if len(first) != 16 or len(last) != 16:
                raise ValueError("an address has 16 bytes here")
            span = &self.bogus[self.bogus_count]
            span.first[0], span.first[1] = load64(first), load64(<const uint8_t*>first + 8)
            span.last[0], span.last[1] = load64(last), load64(<const uint8_t*>last + 8)
            if is_below(span.last, span.first) or (
                self.bogus_count and not is_below(self.bogus[self.bogus_count - 1].last, span.first)
            ):
                raise ValueError("spans of addresses are not in order")
            self.bogus_count += 1

    def __dealloc__(self):
        free(self.bogus)

    def has(self, bytes address not None):
        """Return whether an address, in 16 bytes, is one of the bogus ones."""
        if len(address) != 16:
            raise ValueError("an address has 16 bytes here")
        return has_address(self, address)

    cdef bint is_bogus(self, const Findings* findings) noexcept nogil:
        cdef int i
        if self.bogus_count == 0:
            return False
        for i in range(min(findings.addresses, <int>ADDRESSES_MAX)):
            if has_address(self, findings.address[i]):
                return True
        return False

    cdef bint is_rebinding(self, const Findings* findings) noexcept nogil:
        cdef Suffix suffix
        if not self.rebind or not (findings.has_private or findings.has_bad_hints):
            return False
        return self.rebind_allow.lines == 0 or not find_suffixes(
            self.rebind_allow, findings.chain.names[0].octets, &suffix, 1
        )


cdef bint has_address(Protection protection, const uint8_t* octets) noexcept nogil:
    cdef uint64_t address[2]
    cdef int low = 0
    cdef int high = protection.bogus_count
    cdef int middle
    address[0], address[1] = load64(octets), load64(octets + 8)
    while low < high:           # the first span that does not end before it
        middle = (low + high) // 2
        if is_below(protection.bogus[middle].last, address):
            low = middle + 1
        else:
            high = middle
    return low < protection.bogus_count and not is_below(address, protection.bogus[low].first)
