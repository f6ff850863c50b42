"""DNS cookies towards clients (RFC 7873), in the form that servers share (RFC 9018)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._query cimport Asker
from fastdns._siphash cimport SipKey
from fastdns._wire cimport Asked

cdef enum:
    CLIENT_COOKIE = 8       # octets
    SERVER_COOKIE = 16      # as we make it
    SECRET_OCTETS = 16

cdef enum Proof:            # what a client's COOKIE option shows
    NO_PROOF                # it has no server cookie
    GOOD_PROOF              # it is the address it says: we have sent it this cookie
    BAD_PROOF               # its server cookie is not ours, another client's, or too old

ctypedef struct Secrets:    # one page, which all processes of a daemon map
    uint64_t current        # 1 or 2: which of them makes cookies; both are good. 0: there are none
    SipKey keys[2]

cdef class Cookies:
    cdef Secrets* secrets
    cdef object memory

    cdef int look(self, const uint8_t* packet, Asked* asked, const Asker* asker, uint32_t now) noexcept nogil
    # ^ a Proof, for a message with a COOKIE option; notes the cookie for its answer. now: Unix time
