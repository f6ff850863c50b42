"""The keys that session tickets are encrypted with (RFC 5077, RFC 8446 section 4.6.1): one page for all workers."""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    TICKET_KEYS = 3             # the newest encrypts, all decrypt
    SLOTS = 4                   # one more: the next key is written while none of the others changes

cdef struct TicketKey:
    uint8_t name[16]            # in the clear in each ticket
    uint8_t cipher[32]          # AES-256
    uint8_t mac[32]             # HMAC-SHA256

cdef struct TicketPage:
    uint64_t newest             # its number, which counts up; 0: there are no keys yet
    TicketKey at[SLOTS]         # key n is in n % SLOTS

cdef class TicketKeys:
    cdef TicketPage* page
    cdef object memory

    cdef void add(self, const TicketKey* key) noexcept      # private

cdef bint newest_ticket_key(const TicketPage* page, TicketKey* out) noexcept nogil      # False: there is none
cdef int named_ticket_key(const TicketPage* page, const uint8_t* name, TicketKey* out) noexcept nogil
# ^ how many are newer: 0, 1 …; -1: it is not, or no longer, one of ours
