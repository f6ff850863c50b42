"""Decides which answer a name gets and which upstreams are asked, before asking and again with the reply.

docs/architecture.md has the order of a decision ("The order of a decision").
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._blocking cimport Blocking, is_blocked
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
    EDE_BLOCKED = 15        # RFC 8914: a list blocks the name, or a rule leaves the type out
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
    uint8_t reason          # a Reason of _blocking
    uint8_t alias           # which name of the answer's chain is the one that is blocked; 0: the name itself
    uint16_t source         # number of the list or set of rules that is the reason, and 1

cdef class Policy:
    cdef public uint64_t generation         # grows with every change of its decisions, including the servers of groups
    cdef readonly uint16_t group            # of all names that are in no domain
    cdef readonly DomainSet domains         # whose names belong to other groups
    cdef readonly LocalRecords local        # the owner's own names
    cdef readonly Rules rules               # exceptions for some names
    cdef readonly Protection protection
    cdef readonly Blocking blocking
    cdef readonly bint inspects             # an answer may be refused for what is in it
    cdef readonly bint is_empty             # every name belongs to the default group, and every answer may be served

cdef void decide(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil
cdef bint inspect(
    Policy policy, const uint8_t* key, uint16_t key_length, Decision* decision, const Findings* findings
) noexcept nogil
# ^ True: the answer may be served. False: decision says what is served instead.
cdef void* records_for(Policy policy, const Decision* decision) noexcept nogil
# ^ the LocalRecords that answer a question whose verdict is OWN
cdef inline bint is_refused(const Decision* decision) noexcept nogil:
    """True if the name, or one that it leads to, is blocked."""
    return is_blocked(decision.reason)
