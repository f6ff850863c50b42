"""The rings of all workers, read by each of them: an answer that one has learned is known to the others at once.

A record is copied before it is trusted: its space may be released, and written again, at any time.
"""

from libc.stdlib cimport free, malloc

from fastdns._answer cimport Stored
from fastdns._clock cimport is_later
from fastdns._entry cimport HEADER_OCTETS, Header, read_entry
from fastdns._key cimport key_length_of
from fastdns._ring cimport RecordHead, Ring
from fastdns._siphash cimport keyed_hash
from fastdns._wire cimport RECORDS_MAX

cdef enum:
    VALUE_MAX = HEADER_OCTETS + 2 * RECORDS_MAX + 2 * 65535


cdef class Rings:
    """Looks in all of these rings, without removing anything."""

    def __cinit__(self, rings not None):
        cdef int i
        self.rings = tuple(rings)
        self.ring = <void**>malloc(max(len(self.rings), 1) * sizeof(void*))
        for i in range(2):      # unwritten parts take no memory
            self.rooms[i] = <uint8_t*>malloc(VALUE_MAX)
        if self.ring == NULL or self.rooms[0] == NULL or self.rooms[1] == NULL:
            raise MemoryError
        for ring in self.rings:
            self.ring[self.count] = <void*><Ring?>ring
            self.count += 1

    def __dealloc__(self):
        free(self.ring)
        free(self.rooms[0])
        free(self.rooms[1])

    cdef void expect(self, uint64_t hash) noexcept nogil:
        cdef int i
        for i in range(self.count):
            if (<Ring>self.ring[i]).octets_used():
                (<Ring>self.ring[i]).index.expect(hash)

    cdef bint find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef RecordHead record
        cdef Header header, newest
        cdef Stored stored
        cdef size_t length
        cdef uint8_t* room
        cdef int i
        self.length = 0
        for i in range(self.count):
            room = self.rooms[1 - self.best]
            length = (<Ring>self.ring[i]).copy_newest(hash, key, key_length, &record, room, VALUE_MAX)
            if length == 0 or read_entry(room, length, &header, &stored) != 0:
                continue
            if self.length == 0 or is_later(&header.stored, &newest.stored):
                newest = header
                self.value = room
                self.length = length
                self.epoch = record.epoch
                self.best = 1 - self.best
        return self.length != 0

    def look(self, bytes key not None):
        """Return (epoch, value) of the newest answer or removal under a disk key, or None."""
        if not self.find(keyed_hash(key, len(key)), <const uint8_t*><const char*>key, key_length_of(key)):
            return None
        return self.epoch, (<const char*>self.value)[:self.length]
