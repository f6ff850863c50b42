"""Questions in flight, the clients that wait for each, and their answers.

Identical questions are one. Room is limited; when it is full, the client prefix or domain with the largest share gives
way. So a flood under one name ends its own waits only.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastdns._clock cimport read_clock_ns
from fastdns._counters cimport IN_FLIGHT
from fastdns._policy cimport FORWARD, Decision
from fastdns._query cimport TIER_STALE, Query
from fastdns._waiters cimport describe, free_waiters
from fastdns._shares cimport Share
from fastdns._wheel cimport OF_QUESTION

cdef enum:
    PREFIX_OCTETS = 7           # of an IPv6 address: what one customer usually has (RFC 6177)
    MAPPED_AT = 12              # the IPv4 address in an IPv4-mapped one
    LABELS_OF_DOMAIN = 2
    LABELS_OF_PARENT = 3

IN_FLIGHT_MAX = QUESTIONS_MAX

cdef uint64_t FNV_OFFSET = <uint64_t>0xcbf29ce484222325
cdef uint64_t FNV_PRIME = <uint64_t>0x100000001b3


cdef uint64_t hash_octets(const uint8_t* octets, size_t length, uint64_t seed) noexcept nogil:
    # Colliding shares only share their fate in a flood, so no secret key is needed.
    cdef uint64_t hash = FNV_OFFSET ^ seed
    cdef uint64_t piece
    while length >= sizeof(piece):
        memcpy(&piece, octets, sizeof(piece))
        hash = (hash ^ piece) * FNV_PRIME
        hash ^= hash >> 32
        octets += sizeof(piece)
        length -= sizeof(piece)
    piece = length
    memcpy(&piece, octets, length)
    hash = (hash ^ piece) * FNV_PRIME
    return hash ^ (hash >> 32)


cdef uint64_t client_of(const Asker* asker) noexcept nogil:
    """A hash of the client's prefix: /32, or /56 of IPv6."""
    cdef int i
    for i in range(10):
        if asker.address[i]:
            return hash_octets(asker.address, PREFIX_OCTETS, 6)
    if asker.address[10] == 255 and asker.address[11] == 255:
        return hash_octets(asker.address + MAPPED_AT, 4, 4)
    return hash_octets(asker.address, 16, 6)


cdef void domains_of(const uint8_t* name, uint64_t* domain, uint64_t* parent) noexcept nogil:
    """Hash the last two and the last three labels of a name, or all of a shorter one; of one with three, only two."""
    cdef uint8_t starts[128]
    cdef int labels = 0
    cdef int at = 0
    cdef int end, last_two
    while name[at]:
        starts[labels] = <uint8_t>at
        labels += 1
        at += 1 + name[at]
    end = at
    last_two = starts[max(labels - LABELS_OF_DOMAIN, 0)] if labels else 0
    domain[0] = parent[0] = hash_octets(name + last_two, end - last_two, 0)
    if labels > LABELS_OF_PARENT:       # the name itself is not its own parent
        at = starts[labels - LABELS_OF_PARENT]
        parent[0] = hash_octets(name + at, last_two - at, domain[0])


cdef void end_rest(Pending* pending) noexcept nogil:
    if pending.rest != NULL:
        free(pending.rest.parts)
        free(pending.rest)
        pending.rest = NULL


cdef class Questions:
    """The questions of one process that are in flight."""

    def __cinit__(self, Cache cache not None, *_arguments):
        self.cache = cache
        self.tally = cache.counters.at
        self.of_clients = Shares()
        self.of_domains = Shares()
        self.of_parents = Shares()
        self.outgoing = Outgoing(cache.counters)
        self.tally[IN_FLIGHT] = 0

    def __dealloc__(self):
        cdef int i
        cdef Pending* pending
        cdef Pending* after
        for i in range(SHELVES):
            pending = self.shelves[i]
            while pending != NULL:
                after = pending.next_on_shelf
                free_waiters(pending.first)
                free(pending.error)
                end_rest(pending)
                free(pending)
                pending = after

    # --- the questions ----------------------------------------------------------------------------------

    cdef Pending* find(self, uint64_t hash, const uint8_t* key, uint16_t key_length) noexcept nogil:
        cdef Pending* pending = self.shelves[hash % SHELVES]
        while pending != NULL and (
            pending.hash != hash or pending.key_length != key_length or memcmp(pending.key, key, key_length) != 0
        ):
            pending = pending.next_on_shelf
        return pending

    cdef Pending* find_earlier(self, const Pending* pending) noexcept nogil:
        cdef Pending* earlier = pending.next_on_shelf
        while earlier != NULL and (
            earlier.hash != pending.hash or earlier.key_length != pending.key_length
            or memcmp(earlier.key, pending.key, pending.key_length) != 0
        ):
            earlier = earlier.next_on_shelf
        return earlier

    cdef bint is_alike(self, const Pending* pending, const Decision* decision) noexcept nogil:
        cdef const Decision* former = &pending.decision if pending.rest == NULL else &pending.rest.decision
        cdef uint64_t origin = pending.origin if pending.rest == NULL else pending.rest.origin
        if former.policy == decision.policy:
            return True
        return (
            former.verdict == decision.verdict == FORWARD and former.group == decision.group
            and origin == self.cache.changes.origin_of(decision)
        )

    cdef Pending* shelve(
        self, uint64_t hash, const uint8_t* key, uint16_t key_length, const Decision* decision, uint64_t now_ns
    ) noexcept:
        """Begin a question; NULL: no memory."""
        cdef Pending* pending = <Pending*>malloc(sizeof(Pending))
        cdef uint64_t domain, parent
        if pending == NULL:
            return NULL
        memset(pending, 0, sizeof(Pending) - KEY_MAX)
        pending.timer.kind = OF_QUESTION
        pending.hash = hash
        pending.began_ns = now_ns
        pending.epoch = self.cache.changes.epoch
        pending.decision = decision[0]
        pending.origin = self.cache.changes.origin_of(&pending.decision)
        pending.position = -1
        pending.key_length = key_length
        memcpy(pending.key, key, key_length)
        domains_of(key, &domain, &parent)
        pending.of_client.share = -1
        pending.of_client.owner = pending.of_domain.owner = pending.of_parent.owner = <void*>pending
        self.of_domains.join(&pending.of_domain, domain, 1)
        self.of_parents.join(&pending.of_parent, parent, 1)
        pending.next_on_shelf = self.shelves[hash % SHELVES]
        self.shelves[hash % SHELVES] = pending
        self.count += 1
        self.tally[IN_FLIGHT] = <unsigned int>self.count
        return pending

    cdef void remove(self, Pending* pending) noexcept:
        cdef Pending** link = &self.shelves[pending.hash % SHELVES]
        while link[0] != pending:
            link = &link[0].next_on_shelf
        link[0] = pending.next_on_shelf
        self.of_clients.leave(&pending.of_client)
        self.of_domains.leave(&pending.of_domain)
        self.of_parents.leave(&pending.of_parent)
        free(pending.error)
        end_rest(pending)
        free(pending)
        self.count -= 1
        self.tally[IN_FLIGHT] = <unsigned int>self.count

    # --- who waits --------------------------------------------------------------------------------------

    cdef void wait(self, Pending* pending, Waiter* waiter) noexcept:
        if pending.first == NULL:
            pending.first = waiter
        else:
            pending.last.next = waiter
        pending.last = waiter
        self.note_waiter(pending, client_of(&waiter.asker))

    cdef void note_waiter(self, Pending* pending, uint64_t client) noexcept:
        self.waiting += 1
        self.of_domains.grow(&pending.of_domain, 1)
        self.of_parents.grow(&pending.of_parent, 1)
        if pending.is_shared:
            return
        if pending.of_client.share < 0:
            pending.client = client
            self.of_clients.join(&pending.of_client, client, 2)
        elif pending.client == client:
            self.of_clients.grow(&pending.of_client, 1)
        else:
            # No client loses its wait because another client, which asks too much, asked the same.
            pending.is_shared = True
            self.of_clients.leave(&pending.of_client)

    cdef void note_leaving(self, Pending* pending) noexcept:
        self.waiting -= 1
        self.of_domains.grow(&pending.of_domain, -1)
        self.of_parents.grow(&pending.of_parent, -1)
        self.of_clients.grow(&pending.of_client, -1)

    cdef bint has_waiting(self, const Pending* pending) noexcept:
        return pending.first != NULL

    cdef bint is_crowded(self) noexcept nogil:
        return self.count > QUESTIONS_MAX or self.waiting > WAITING_MAX

    cdef Pending* who_gives_way(self) noexcept nogil:
        """The oldest question of the largest share, and of the narrowest one that explains it."""
        cdef Share* client = self.of_clients.largest()
        cdef Share* domain = self.of_domains.largest()
        cdef Share* parent = self.of_parents.largest()
        cdef int most = max(client.weight, domain.weight)
        cdef Place* place
        if 2 * parent.weight >= most:
            place = parent.oldest
        elif 2 * domain.weight >= most:
            place = domain.oldest
        else:
            place = client.oldest
        return <Pending*>place.owner if place != NULL else NULL

    # --- answers ----------------------------------------------------------------------------------------

    cdef void answer(
        self, Pending* pending, Tier tier, const AnswerSource* upstream, const Stored* stored, uint32_t age,
        uint64_t now_ns
    ) noexcept:
        """Queue the answer for all clients that wait."""
        cdef uint32_t stale_ttl = self.cache.settings.stale_ttl if tier == TIER_STALE else 0
        cdef Waiter* waiter
        cdef Query query
        describe(&query, pending.hash, pending.key, pending.key_length, &pending.decision)
        query.tier = <uint8_t>tier
        query.upstream = upstream
        while pending.first != NULL:
            waiter = pending.first
            pending.first = waiter.next
            self.note_leaving(pending)
            self.outgoing.tell(&query, waiter, stored, age, stale_ttl, now_ns)

    cdef void drop(self, Pending* pending) noexcept:
        """Forget the clients that still wait for it."""
        cdef uint64_t now_ns = read_clock_ns()
        cdef Waiter* waiter
        cdef Query query
        describe(&query, pending.hash, pending.key, pending.key_length, &pending.decision)
        while pending.first != NULL:
            waiter = pending.first
            pending.first = waiter.next
            self.note_leaving(pending)
            self.outgoing.drop(&query, waiter, now_ns)

    cdef void flush(self) noexcept:
        self.outgoing.flush()
