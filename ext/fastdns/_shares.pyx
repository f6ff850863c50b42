"""Who has how much of what there is: so that who takes the most gives way, and nobody else.

Whose something is, is a hash; a few that share a number share a fate.
"""


cdef class Shares:
    """Things by whom they belong to, the oldest of each at hand."""

    cdef void join(self, Place* place, uint64_t whose, int weight) noexcept nogil:
        cdef int share = <int>(whose % SHARES)
        place.share = share
        place.weight = weight
        place.newer = NULL
        place.older = self.newest[share]
        if place.older != NULL:
            place.older.newer = place
        else:
            self.oldest[share] = place
        self.newest[share] = place
        self.weights[share] += weight

    cdef void grow(self, Place* place, int weight) noexcept nogil:
        if place.share < 0:
            return
        place.weight += weight
        self.weights[place.share] += weight

    cdef void leave(self, Place* place) noexcept nogil:
        if place.share < 0:
            return
        self.weights[place.share] -= place.weight
        if place.older != NULL:
            place.older.newer = place.newer
        else:
            self.oldest[place.share] = place.newer
        if place.newer != NULL:
            place.newer.older = place.older
        else:
            self.newest[place.share] = place.older
        place.share = -1

    cdef int largest(self) noexcept nogil:
        cdef int found = 0
        cdef int i
        for i in range(1, SHARES):
            if self.weights[i] > self.weights[found]:
                found = i
        return found
