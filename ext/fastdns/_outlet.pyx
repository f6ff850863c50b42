"""Where answers over connections go; `_stream_listener` implements it."""


cdef class Outlet:
    """Takes answers for connections, and sends them together."""

    cdef void put(self, const Query* query, const uint8_t* response) noexcept:
        pass

    cdef bint is_full(self, const Ticket* ticket) noexcept:
        return False

    cdef void flush(self, uint64_t now_ns) noexcept:
        pass

    cdef void wait_more(self, const Ticket* ticket) noexcept:
        pass

    cdef void refuse(self, const Ticket* ticket) noexcept:
        pass

    cdef void wait_less(self, const Ticket* ticket) noexcept:
        pass
