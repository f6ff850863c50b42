"""What may be told of a name, and who is asked for it: decided before the asking, and looked at again with the reply.

docs/architecture.md has the order of a decision ("The order of a decision"). So far there is one policy, the empty one.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._wire cimport Findings

cdef enum Verdict:
    FORWARD                 # ask the group's upstreams
    LOCAL                   # a record of our own
    NULL_ADDRESS            # 0.0.0.0 or ::
    NXDOMAIN
    NODATA
    REFUSE

cdef enum:
    NO_EDE = -1
    DEFAULT_GROUP = 0

ctypedef struct Decision:
    uint64_t policy         # generation of the policy that has decided
    uint32_t rule           # which rule of which list it was; 0: none
    uint16_t group          # number of the group of upstreams, whose answer it is
    int16_t ede             # INFO-CODE that goes with the answer (RFC 8914), or NO_EDE
    uint8_t verdict

cdef class Policy:
    cdef public uint64_t generation         # grows with every change of what it would decide, groups' servers included
    cdef readonly uint16_t group            # to which all is forwarded
    cdef readonly bint is_empty             # that is the default one, and nothing is ever wrong

cdef void decide(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil
cdef bint inspect(Policy policy, Decision* decision, const Findings* findings) noexcept nogil
# ^ True: what has been found may be told. False: decision says what is told in its place.
