"""The keys that session tickets are encrypted with: one page for all workers, so that each resumes what another began.

One process writes: it puts the next key into the slot that nobody uses, then publishes its number. So readers need no
lock, and a writer that is killed leaves the keys as they were.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcmp, memcpy

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELEASE
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* out, size_t octets, unsigned int flags)

TICKET_OCTETS = sizeof(TicketPage)


cdef bint newest_ticket_key(const TicketPage* page, TicketKey* out) noexcept nogil:
    cdef uint64_t newest = __atomic_load_n(&page.newest, __ATOMIC_ACQUIRE)
    out[0] = page.at[newest % SLOTS]
    return newest != 0


cdef int named_ticket_key(const TicketPage* page, const uint8_t* name, TicketKey* out) noexcept nogil:
    cdef uint64_t newest = __atomic_load_n(&page.newest, __ATOMIC_ACQUIRE)
    cdef int age
    if newest != 0:
        for age in range(TICKET_KEYS):
            out[0] = page.at[(newest - age) % SLOTS]
            if memcmp(out.name, name, sizeof(out.name)) == 0:
                return age
    return -1


cdef class TicketKeys:
    """The newest three keys: of `page`, which has TICKET_OCTETS, zero at first; None: of memory of its own, random.

    Only one of the processes that share the page calls `rotate` and `restore`.
    """

    def __cinit__(self, page=None):
        cdef Py_buffer view
        self.memory = mapped.anonymous(TICKET_OCTETS, b"") if page is None else page
        PyObject_GetBuffer(self.memory, &view, PyBUF_WRITABLE)
        self.page = <TicketPage*>view.buf       # a mapping stays where it is
        PyBuffer_Release(&view)
        if view.len < <Py_ssize_t>sizeof(TicketPage):
            raise ValueError("this memory is too small")
        if page is None:
            self.rotate()

    def rotate(self):
        """Make a new key, which encrypts from now on; the oldest is forgotten. If there are none: make all."""
        cdef TicketKey key
        cdef int _each
        for _each in range(1 if self.page.newest else TICKET_KEYS):
            if getrandom(&key, sizeof(key), 0) != sizeof(key):
                raise OSError("the kernel gives no random bytes")
            self.add(&key)

    def saved(self) -> bytes:
        """Return the keys for `restore` after a restart. They are secret: who has them reads what clients sent."""
        cdef uint64_t newest = self.page.newest
        cdef int age
        if newest == 0:
            return b""
        return b"".join([
            (<const uint8_t*>&self.page.at[(newest - age) % SLOTS])[:sizeof(TicketKey)] for age in range(TICKET_KEYS)
        ])

    def restore(self, bytes saved not None):
        """Put the keys of `saved` into the page. ValueError: it has another form; nothing has changed."""
        cdef TicketKey key
        cdef int age
        if len(saved) != TICKET_KEYS * sizeof(TicketKey):
            raise ValueError("these are not the keys of session tickets")
        for age in range(TICKET_KEYS - 1, -1, -1):
            memcpy(&key, <const uint8_t*>saved + age * sizeof(TicketKey), sizeof(key))
            self.add(&key)

    cdef void add(self, const TicketKey* key) noexcept:
        cdef uint64_t number = self.page.newest + 1
        self.page.at[number % SLOTS] = key[0]
        __atomic_store_n(&self.page.newest, number, __ATOMIC_RELEASE)
