"""SVCB and HTTPS records without IPv6 addresses in their parameters."""

from libc.stdint cimport uint8_t, uint16_t

from fastdns._wire cimport Findings, Reply

cdef bint strip_hints(
    const uint8_t** wire, size_t* length, const uint8_t* key, uint16_t key_length, bint if_v4, Reply* out,
    uint16_t* ttl_at, Findings* findings,
) noexcept
# ^ take the IPv6 hints out of the SVCB and HTTPS records of a reply that was read, or only out of those that have IPv4
# hints, and read it again; wire and length then point to a copy: valid until the next call, to which it may not be
# given. False: it stays as it is
