"""The owner's exceptions for some names ([[rule]]): other limits for TTLs, no cache, types that are not given."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._domains cimport DomainSet

cdef enum:
    RULE_BITS = 12          # of half a domain's value: below its rule for the name itself, above for all under it
    RULES_MAX = (1 << 12) - 1
    TYPES_MAX = 64          # that one rule leaves out

cdef enum AaaaRule:         # what becomes of IPv6 addresses
    AAAA_GIVEN
    AAAA_NEVER
    AAAA_IF_NO_A            # given to names without IPv4 addresses

ctypedef struct Rule:
    uint64_t mark           # fingerprint of how it changes every answer; 0: it does not
    uint64_t aaaa_mark      # and those that have IPv6 addresses
    int64_t stale_ms        # for how long past its TTL an answer may be used; -1: as others
    void* limits[2]         # Limits of groups that are not trusted for AD, and of those that are; NULL: the group's
    bint is_cached
    uint8_t aaaa
    uint8_t type_count
    uint16_t types[TYPES_MAX]   # that are answered here: there are none

cdef class Rules:
    cdef readonly int count
    cdef Rule* at           # by their numbers, from 1 on
    cdef DomainSet names
    cdef list limits        # keeps them alive
    cdef readonly bint has_stale        # one of them has a stale_ms
    cdef readonly int64_t stale_ms_max  # of them; -1: none has one

    cdef uint32_t rule_of(self, const uint8_t* name) noexcept nogil     # its number; 0: none concerns this name
    cdef Rule* find(self, uint32_t number) noexcept nogil               # NULL: there is none

cdef uint64_t mark_of_rule(const Rule* rule, uint16_t qtype) noexcept nogil
# ^ what tells answers under this rule from those under another one
cdef bint leaves_out(const Rule* rule, uint16_t qtype) noexcept nogil
cdef bint changes_answers(const Rule* rule, uint16_t qtype) noexcept nogil
# ^ those of this type have other data than the upstream's, or are only given on a condition
cdef bint changes_hints(const Rule* rule, uint16_t qtype) noexcept nogil
# ^ IPv6 addresses are taken out of the answers of this type
