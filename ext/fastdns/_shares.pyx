"""The share of each owner in a limited resource: the largest share gives way, and no other.

An owner is a hash; owners that share a number are one.
"""


cdef class Shares:
    """Things by owner, with the oldest of each at hand."""

    cdef void join(self, Place* place, uint64_t whose, int weight) noexcept nogil:
        cdef Share* share
        place.share = <int>(whose % SHARES)
        share = &self.at[place.share]
        place.weight = weight
        place.newer = NULL
        place.older = share.newest
        if place.older != NULL:
            place.older.newer = place
        else:
            share.oldest = place
        share.newest = place
        share.weight += weight

    cdef void grow(self, Place* place, int weight) noexcept nogil:
        if place.share < 0:
            return
        place.weight += weight
        self.at[place.share].weight += weight

    cdef void leave(self, Place* place) noexcept nogil:
        cdef Share* share
        if place.share < 0:
            return
        share = &self.at[place.share]
        share.weight -= place.weight
        if place.older != NULL:
            place.older.newer = place.newer
        else:
            share.oldest = place.newer
        if place.newer != NULL:
            place.newer.older = place.older
        else:
            share.newest = place.older
        place.share = -1

    cdef Share* largest(self) noexcept nogil:
        cdef Share* found = &self.at[0]
        cdef int i
        for i in range(1, SHARES):
            if self.at[i].weight > found.weight:
                found = &self.at[i]
        return found
