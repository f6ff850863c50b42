"""Decides which answer a name gets and which upstreams are asked, before asking and again with the reply.

docs/architecture.md has the order of a decision ("The order of a decision").
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._domains cimport DomainSet
from fastdns._local cimport LocalRecords
from fastdns._protection cimport Protection
from fastdns._rules cimport Rules
from fastdns._wire cimport Findings

cdef enum Verdict:
    FORWARD                 # ask the group's upstreams
    LOCAL                   # one of the special names, which are answered here
    OWN                     # it has records of the owner
    ZONE                    # in the owner's own domain, which never leaves fastdns
    NULL_ADDRESS            # 0.0.0.0 or ::
    NXDOMAIN
    NODATA
    REFUSE
    MINIMAL_ANY             # one record that says that ANY is not answered (RFC 8482 section 4.2)

cdef enum:
    NO_EDE = -1
    EDE_BLOCKED = 15        # RFC 8914: a rule leaves the type out
    EDE_FILTERED = 17       # an answer has what it may not have
    DEFAULT_GROUP = 0
    GROUPS_MAX = 1 << 16    # numbers of groups

ctypedef struct Decision:
    uint64_t policy         # generation of the policy that has decided
    uint64_t mark           # what tells answers under the name's rule from others; 0: nothing does
    uint32_t rule           # the number of the rule that concerns the name; 0: none
    uint16_t group          # the group of upstreams that gives the answer
    int16_t ede             # INFO-CODE that goes with the answer (RFC 8914), or NO_EDE
    uint8_t verdict
    uint8_t labels          # of the domain by which the name was decided, or whose SOA record denies it; 0: the root

cdef class Policy:
    cdef public uint64_t generation         # grows with every change of its decisions, including the servers of groups
    cdef readonly uint16_t group            # of all names that are in no domain
    cdef readonly DomainSet domains         # whose names belong to other groups
    cdef readonly LocalRecords local        # the owner's own names
    cdef readonly Rules rules               # exceptions for some names
    cdef readonly Protection protection
    cdef readonly bint inspects             # an answer may be refused for what is in it
    cdef readonly bint is_empty             # every name belongs to the default group, and every answer may be served

cdef void decide(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil
cdef bint inspect(Policy policy, Decision* decision, const Findings* findings) noexcept nogil
# ^ True: the answer may be served. False: decision says what is served instead.
