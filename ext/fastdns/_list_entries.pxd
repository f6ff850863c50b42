"""What is read from one block list: entries, what is left out, what is faulty. The readers of formats report to it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t

from fastdns._block_set cimport BlockSetBuilder, Membership

cdef enum:
    LINE_MAX = 65536            # octets; a longer line is faulty

cdef class EntryCollector:
    cdef BlockSetBuilder builder
    cdef Membership entry       # its source, and the last entry
    cdef object check_pattern
    cdef bytes zone             # the apex of a zone file, in wire form; None: it is in the file
    cdef readonly int64_t lines     # read so far, this one included
    cdef readonly int64_t taken
    cdef readonly int64_t faulty
    cdef readonly dict left_out     # reason -> how many
    cdef readonly list first_faulty     # (line, text, reason)
    cdef const uint8_t* line_at     # the line that is read
    cdef const uint8_t* line_end

    cdef int take_domain(self, const uint8_t* at, const uint8_t* end, uint8_t flags, uint16_t types) except -1
    # ^ a domain as text; one that is no domain is reported
    cdef int read_name(self, const uint8_t* at, const uint8_t* end, uint8_t* name) except -1
    # ^ writes it in wire form, and returns its length; 0: it is no domain, which is reported
    cdef int note(self, const uint8_t* name, int length, uint8_t flags, uint8_t action, uint16_t types) except -1
    cdef int note_pattern(self, bytes text, uint8_t flags, tuple types) except -1
    cdef int number_of_types(self, tuple types) except -2       # -1: a set more than there may be, which is counted
    cdef int leave_out(self, str reason) except -1
    cdef int report(self, const uint8_t* at, const uint8_t* end, str reason) except -1      # as faulty

cdef enum AddressKind:
    NO_ADDRESS = 0
    NULL_ADDRESS = 1            # of no machine, or of this one
    OTHER_ADDRESS = 2

cdef AddressKind address_kind(const uint8_t* at, const uint8_t* end) noexcept nogil
cdef bint is_word(const uint8_t* at, const uint8_t* end, const char* word) noexcept nogil       # word: in lower case
cdef bint begins_with(const uint8_t* at, const uint8_t* end, const char* word) noexcept nogil
cdef const uint8_t* end_of_token(const uint8_t* at, const uint8_t* end) noexcept nogil      # the next space, or the end
cdef const uint8_t* skip_spaces(const uint8_t* at, const uint8_t* end) noexcept nogil
