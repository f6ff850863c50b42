"""The owner's own names: records of the configuration, of hosts files and of leases, and the answers from them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._answer cimport Stored
from fastdns._domains cimport DomainSet, DomainSetBuilder
from fastdns._key cimport NAME_MAX
from fastdns._wire cimport RECORDS_MAX

cdef enum:
    NAME_OCTETS_MAX = 32768     # of all records of one name: they always fit an answer
    CHAIN_LOCAL_MAX = 16        # CNAME records that are followed in one answer
    LOCAL_OCTETS_MAX = 65535    # of an answer
    DESIGNATED_SOURCE = 254     # of records that name the encrypted services of fastdns itself

ctypedef struct LocalRecord:    # followed by its RDATA
    uint32_t ttl
    uint32_t origin             # source << 24 | line
    uint16_t rtype
    uint16_t length             # of the RDATA

ctypedef struct LocalMatch:
    const LocalRecord* first    # NULL: the name has no records
    uint16_t count
    uint8_t labels              # of the name, or of the parent of the wildcard
    bint is_wildcard
    bint exists                 # the name is one of them, or above one

cdef struct LocalAnswer:
    Stored stored               # points into this very struct
    uint16_t target_length      # of the name in which its chain ends, which has no records here; 0: the answer is whole
    uint8_t target[NAME_MAX]
    uint16_t ttl_at[RECORDS_MAX]
    uint8_t wire[LOCAL_OCTETS_MAX]

cdef class LocalRecords:
    cdef DomainSet names                # value: its place in `nodes`, from 1 on
    cdef readonly uint64_t count        # names with records
    cdef readonly uint64_t records
    cdef uint32_t* nodes                # two for each: where in `block` the records of the name, and of its wildcard
    cdef uint8_t* block
    cdef size_t octets

    # private
    cdef const LocalRecord* records_at(self, uint32_t place, uint16_t* count) noexcept nogil

cdef struct Draft:              # a record that is not compiled yet
    uint64_t data               # where its RDATA is
    uint32_t next               # of the same name; 0: the last one
    LocalRecord record

cdef struct DraftName:
    uint32_t first[2]           # records of the name, and of its wildcard; 0: none
    uint32_t last[2]
    uint32_t octets[2]

cdef class LocalBuilder:
    cdef DomainSetBuilder names
    cdef DraftName* of_name
    cdef size_t names_room
    cdef Draft* drafts          # from 1 on
    cdef size_t used, room
    cdef uint8_t* data
    cdef size_t data_used, data_room
    cdef uint64_t count

    cdef int put(
        self, const uint8_t* name, uint16_t rtype, uint32_t ttl, const uint8_t* data, uint16_t length, uint32_t origin
    ) except -1
    # ^ 1; 0: it is there already, or the name has no room for more. name: sound and in lower case, "*.x" is a wildcard;
    # an OverflowError: too many names
    cdef bint has_records(self, const uint8_t* name) noexcept nogil     # that very name; sound and in lower case
    cdef uint32_t last_origin(self, const uint8_t* name) noexcept nogil   # of its last record; the largest: none
    # private
    cdef uint32_t place_of(self, const uint8_t* name) except 0
    cdef int make_room(self, uint16_t length) except -1
    cdef size_t size_of(self, const DraftName* of_name, int kind) noexcept nogil
    cdef size_t write_node(self, uint8_t* out, const DraftName* of_name, int kind) noexcept nogil

cdef LocalMatch find_local(LocalRecords local, const uint8_t* name) noexcept nogil
# ^ exact before the longest wildcard above; name: sound and in lower case
cdef bint answers_type(const LocalMatch* match, uint16_t qtype) noexcept nogil
# ^ False: others know that type. The name of the service may be one that has mail, or certificates, elsewhere
cdef void make_local(
    LocalRecords local, const uint8_t* key, uint16_t key_length, int zone_labels, LocalAnswer* out
) noexcept nogil
# ^ the answer to a question about a name that has records: its records of that type, what a CNAME record of it leads
# to, or no data, by its parent of so many labels. Beside SVCB records: the addresses of their targets that are here
