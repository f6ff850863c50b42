"""Names that are not answered as their owners want it: by block lists, by the user's rules, for some views only.

A *class* is what the number of a view in a key stands for: 0 is that of all clients in no view.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._block_set cimport BlockSet
from fastdns._local cimport LocalRecords

cdef enum Reason:           # why a name is blocked, or is not although a list has it
    NO_REASON
    BY_LIST
    BY_RULE                 # of the user
    BY_PATTERN              # a regular expression of a list
    BY_SAFE_SEARCH          # not blocked: the name has another address
    ALLOWED_BY_LIST
    ALLOWED_BY_RULE
    ALLOWED_BY_PATTERN

cdef enum:
    NOTE_OCTETS = 96        # of the text about a list or rule that goes with an answer
    NAMES_REMEMBERED = 4096     # with the regular expressions that match them

ctypedef struct Outcome:    # about one name
    uint8_t reason
    uint8_t action          # an action of _block_set, never AS_CONFIGURED
    uint8_t labels          # of the domain that a list or rule names
    uint16_t source         # number of the list, or of the set of rules, and 1

ctypedef struct ViewClass:
    const uint8_t* roles    # of each list: a Role
    uint16_t group          # of upstreams, for names in no domain; 0: the default group
    uint8_t action          # the answer to blocked names, if an entry has none of its own
    bint blocks
    bint uses_lists
    bint uses_patterns      # Python is called
    bint has_safe_search

ctypedef struct Note:
    const uint8_t* octets
    uint16_t length

cdef class Blocking:
    cdef readonly bint is_empty             # it decides nothing
    cdef readonly bint blocks               # some class does, so that CNAME targets are looked at
    cdef readonly uint32_t ttl              # of what is answered to blocked names
    cdef readonly BlockSet rules            # the user's; source: number of a set of rules, the first counts
    cdef readonly BlockSet lists
    cdef readonly LocalRecords safe_names   # CNAME records to the safe hosts of search engines
    cdef readonly tuple patterns
    cdef readonly tuple views               # what it was made of, for who explains it
    cdef readonly object about              # what the compiler of it wants to know again
    # private
    cdef ViewClass* classes
    cdef int class_count
    cdef uint16_t* rule_views               # the class that a set of rules is for, or ALL_CLASSES
    cdef uint32_t rule_sets
    cdef uint32_t sources                   # lists that roles know
    cdef Note* notes                        # of all lists, then of all sets of rules
    cdef list kept                          # what these point into
    cdef dict remembered                    # name -> numbers of the patterns that match it
    cdef double look_again_at               # for slow patterns, by time.perf_counter()

    cdef const ViewClass* class_of(self, uint16_t view) noexcept nogil
    cdef void judge(self, uint16_t view, const uint8_t* name, uint16_t qtype, Outcome* out) noexcept nogil
    # ^ name: sound and in lower case, of class IN
    cdef void expect(self, uint16_t view, const uint8_t* name) noexcept nogil       # prefetch for a judge later
    cdef bint has_safe_name(self, uint16_t view, const uint8_t* name, uint16_t qtype) noexcept nogil
    cdef Note note_of(self, int reason, uint16_t source) noexcept nogil     # the list or set of rules in words
    # private
    cdef bint judge_by_rules(self, uint16_t view, const uint8_t* name, Outcome* out) noexcept nogil
    cdef int judge_by_lists(
        self, const ViewClass* of, const uint8_t* name, uint16_t qtype, Outcome* out
    ) noexcept nogil        # a Rank
    cdef void judge_by_patterns(
        self, const ViewClass* of, const uint8_t* name, uint16_t qtype, int rank, Outcome* out
    ) noexcept with gil
    cdef tuple matching(self, bytes name)
    cdef leave_out_slow(self, str text)

cdef inline bint is_blocked(int reason) noexcept nogil:
    return reason == BY_LIST or reason == BY_RULE or reason == BY_PATTERN
