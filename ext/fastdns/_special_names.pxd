"""Names that are answered here and never asked upstream: localhost, private reverse zones, names that cannot exist.

RFC 6761 (localhost, invalid, test), RFC 7686 (onion), RFC 6762 (local), RFC 8375 (home.arpa), RFC 6303 and RFC 7793
(reverse zones), RFC 9462 (resolver.arpa).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastdns._answer cimport Stored

cdef enum:
    SPECIAL_MAX = 512       # octets: header, a question of 259, four records of less than 60 each
    SPECIAL_RECORDS = 4
    SPECIAL_TTL = 10800         # seconds: RFC 6303 section 3
    OWN_TTL = 60                # seconds, of answers that the configuration gives
    SOA_OCTETS = 50             # of the record that write_soa writes
    SOA_TTL_AT = 6              # in it
    SPECIAL_OPTIONS = 166       # octets of EDNS options

cdef struct SpecialAnswer:
    Stored stored           # points into this very struct
    uint16_t ttl_at[SPECIAL_RECORDS]
    uint8_t wire[SPECIAL_MAX]
    uint8_t options[SPECIAL_OPTIONS]

cdef bint is_special(const uint8_t* key, uint16_t key_length) noexcept nogil
cdef bint make_special(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, bint has_names, uint32_t negative_ttl
) noexcept nogil
# ^ False: an ordinary name, `out` is untouched. has_names: others have names under this one, so that it exists
cdef void make_negative(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, bint exists, int zone_labels, uint32_t ttl
) noexcept nogil
# ^ that the name does not exist, or has no such record: by its parent of so many labels
cdef void make_no_data(
    SpecialAnswer* out, const uint8_t* key, uint16_t key_length, int ede, uint32_t ttl
) noexcept nogil
# ^ that the name has no record of this type; ede: an INFO-CODE (RFC 8914) that goes with it, or -1
cdef void make_minimal_any(SpecialAnswer* out, const uint8_t* key, uint16_t key_length) noexcept nogil
cdef void begin(SpecialAnswer* out, const uint8_t* key, uint16_t length, uint16_t rcode, uint32_t ttl) noexcept nogil
# ^ header and question, of a name of that length
cdef void add_record(
    SpecialAnswer* out, uint16_t owner_at, uint16_t rtype, const uint8_t* data, uint16_t data_length
) noexcept nogil
cdef void add_soa(SpecialAnswer* out, uint16_t zone_at) noexcept nogil
cdef uint16_t suffix_at(const uint8_t* name, int labels) noexcept nogil
# ^ where the suffix of so many labels begins; 0: the name has no more
cdef uint16_t write_soa(uint8_t* out, uint16_t zone_at, uint32_t ttl) noexcept nogil    # SOA_OCTETS
# ^ an SOA record of a zone whose name is at that place in the message
