"""The record of a query, and its only exit."""

from fastdns._answer cimport BY_ALIAS, REASON_MASK, REASON_SHIFT
from fastdns._blocking cimport BY_LIST, BY_PATTERN, BY_SAFE_SEARCH
from fastdns._counters cimport (
    BLOCKED_ALIASES, BLOCKED_LISTS, CACHE_HITS, CACHE_STALE, COUNTER_MAX, OUTCOMES_AT, QUERIES_DROPPED,
    QUERIES_LIMITED, QUERIES_REFUSED, RESPONSES_FORMERR, RESPONSES_LIMITED, RESPONSES_NOERROR, RESPONSES_NOTIMP,
    RESPONSES_NXDOMAIN, RESPONSES_OTHER,
    RESPONSES_REFUSED, RESPONSES_SERVFAIL, RESPONSES_TRUNCATED, SHED, observe,
)
from fastdns._wire cimport FLAG_RCODE, FLAG_TC

# What queries are counted by, in the order of their counters.
TRANSPORT_NAMES = ("udp", "tcp", "tls", "https")
TIER_NAMES = ("none", "access", "limit", "wire", "memory", "stale", "local", "disk", "upstream")
RCODE_NAMES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other", "none")
if (len(TRANSPORT_NAMES), len(TIER_NAMES), len(RCODE_NAMES)) != (TRANSPORTS, TIERS, RCODES):
    raise ImportError("the names in _query.pyx and the enumerations in _query.pxd differ")
if OUTCOMES_AT + TRANSPORTS * TIERS * RCODES > COUNTER_MAX:
    raise ImportError("a slot has no room for so many outcomes")

cdef int OF_RCODE[16]       # the counter of each
for _rcode in range(16):
    OF_RCODE[_rcode] = RESPONSES_OTHER
OF_RCODE[0] = RESPONSES_NOERROR
OF_RCODE[1] = RESPONSES_FORMERR
OF_RCODE[2] = RESPONSES_SERVFAIL
OF_RCODE[3] = RESPONSES_NXDOMAIN
OF_RCODE[4] = RESPONSES_NOTIMP
OF_RCODE[5] = RESPONSES_REFUSED


cdef void count_blocked(Counters counters, Query* query, const Stored* told) noexcept nogil:
    cdef int reason = told.is_authoritative >> REASON_SHIFT & REASON_MASK
    if not BY_LIST <= reason <= BY_SAFE_SEARCH:
        return
    counters.at[BLOCKED_LISTS + reason - BY_LIST] += 1
    query.blocked = reason != BY_SAFE_SEARCH
    if told.is_authoritative & BY_ALIAS:
        counters.at[BLOCKED_ALIASES] += 1
    if (reason == BY_LIST or reason == BY_PATTERN) and 0 < told.group <= counters.lists:
        counters.list_hits[told.group - 1] += 1


cdef void finish(Counters counters, const Query* query, uint64_t now_ns) noexcept nogil:
    cdef uint64_t* tally = counters.at
    cdef uint64_t* outcomes = tally + OUTCOMES_AT + (query.asker.transport * <int>TIERS + query.tier) * <int>RCODES
    if query.tier == TIER_MEMORY:
        tally[CACHE_HITS] += 1
    elif query.tier == TIER_STALE:
        tally[CACHE_STALE] += 1
    elif query.tier == TIER_ACCESS:
        tally[QUERIES_REFUSED] += 1
    elif query.tier == TIER_LIMIT:
        tally[QUERIES_LIMITED] += 1
        tally[RESPONSES_LIMITED] += query.told != 0
    if counters.clients is not None and query.tier != TIER_ACCESS:
        counters.clients.count(
            query.asker.address, query.asker.link, query.asker.view, query.blocked, query.limited, now_ns
        )
    if query.told == 0:
        outcomes[NO_ANSWER] += 1
        if query.tier == TIER_WIRE:
            tally[QUERIES_DROPPED] += 1
        elif query.tier == TIER_NONE:
            tally[SHED] += 1
        return
    tally[OF_RCODE[query.told & FLAG_RCODE]] += 1
    outcomes[min(query.told & <int>FLAG_RCODE, <int>RCODE_OTHER)] += 1
    if query.told & FLAG_TC and query.tier != TIER_LIMIT:
        tally[RESPONSES_TRUNCATED] += 1
    if query.has_waited:
        observe(counters.miss_latency, now_ns - query.received_ns, 1)
    elif query.tier >= TIER_MEMORY:
        observe(counters.hit_latency, now_ns - query.received_ns, 1)
