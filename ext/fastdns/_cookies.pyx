"""DNS cookies towards clients: a client that returns ours has the address that it says (RFC 7873, RFC 9018)."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcmp, memcpy, memset

from fastdns._clients cimport name_asker
from fastdns._siphash cimport siphash24
from fastdns._wire cimport COOKIE_OCTETS, load32, store32

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELEASE
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)

cdef enum:
    OCTETS = 4096
    VERSION = 1             # RFC 9018 section 4.1
    TIME_AT = 4             # in the server cookie, after version and three reserved octets
    HASH_AT = 8
    INPUT_MAX = 32          # client cookie, server cookie up to the hash, address of 4 or 16 octets
    PAST_SECONDS = 3600     # how old a good cookie may be, and how far ahead: RFC 9018 section 4.3
    AHEAD_SECONDS = 300
    RENEW_SECONDS = 1800    # a cookie of that age is replaced

SECRETS_OCTETS = OCTETS


cdef void hash_cookie(const SipKey* secret, const uint8_t* cookie, const Asker* asker, uint8_t* out) noexcept nogil:
    """Write the hash of a whole cookie, which is not read from it: RFC 9018 section 4.4."""
    cdef uint8_t octets[INPUT_MAX]
    cdef uint64_t number
    cdef size_t length = CLIENT_COOKIE + HASH_AT
    cdef int i
    memcpy(octets, cookie, length)
    if is_narrow(asker):
        memcpy(octets + length, asker.address + 12, 4)
        length += 4
    else:
        memcpy(octets + length, asker.address, 16)
        length += 16
    number = siphash24(secret, octets, length)
    for i in range(8):
        out[i] = <uint8_t>(number >> (8 * i))


cdef inline bint is_narrow(const Asker* asker) noexcept nogil:
    """True for an IPv4 client: ::ffff:0:0/96."""
    cdef int i
    for i in range(10):
        if asker.address[i]:
            return False
    return asker.address[10] == 0xff and asker.address[11] == 0xff


cdef void make_cookie(
    const SipKey* secret, const uint8_t* client_cookie, const Asker* asker, uint32_t now, uint8_t* out
) noexcept nogil:
    """Write a cookie of COOKIE_OCTETS, the client's part first."""
    memcpy(out, client_cookie, CLIENT_COOKIE)
    memset(out + CLIENT_COOKIE, 0, TIME_AT)
    out[CLIENT_COOKIE] = VERSION
    store32(out + CLIENT_COOKIE + TIME_AT, now)
    hash_cookie(secret, out, asker, out + CLIENT_COOKIE + HASH_AT)


cdef bint is_made_with(const SipKey* secret, const uint8_t* cookie, const Asker* asker) noexcept nogil:
    cdef uint8_t expected[8]
    cdef uint8_t difference = 0
    cdef int i
    hash_cookie(secret, cookie, asker, expected)
    for i in range(8):      # all of them: the time that it takes must not tell how many are right
        difference |= expected[i] ^ cookie[CLIENT_COOKIE + HASH_AT + i]
    return difference == 0


cdef class Cookies:
    """Checks the cookies of clients, and makes new ones; all processes that share the memory use the same secrets."""

    def __cinit__(self, memory=None):
        """`memory` has SECRETS_OCTETS, all zero until `use`; None: of its own."""
        cdef Py_buffer view
        self.memory = mapped.anonymous(OCTETS, b"") if memory is None else memory
        PyObject_GetBuffer(self.memory, &view, PyBUF_WRITABLE)
        self.secrets = <Secrets*>view.buf       # a mapping stays where it is
        PyBuffer_Release(&view)
        if view.len < OCTETS:
            raise ValueError("this memory is too small")

    def use(self, bytes current not None, bytes former not None):
        """Make cookies with the current secret from now on; those of the former one are good as well."""
        cdef uint64_t place = self.secrets.current
        if len(current) != SECRET_OCTETS or len(former) != SECRET_OCTETS:
            raise ValueError(f"a secret has {SECRET_OCTETS} bytes")
        # Workers read meanwhile: the current secret stays in its place until another one is current. One of before the
        # former one is in the other, and no cookie of that is young enough.
        if place and memcmp(&self.secrets.keys[place - 1], PyBytes_AS_STRING(former), SECRET_OCTETS) == 0:
            place = 3 - place
        else:
            place = 1
            memcpy(&self.secrets.keys[1], PyBytes_AS_STRING(former), SECRET_OCTETS)
        memcpy(&self.secrets.keys[place - 1], PyBytes_AS_STRING(current), SECRET_OCTETS)
        __atomic_store_n(&self.secrets.current, place, __ATOMIC_RELEASE)

    cdef int look(self, const uint8_t* packet, Asked* asked, const Asker* asker, uint32_t now) noexcept nogil:
        cdef uint64_t place = __atomic_load_n(&self.secrets.current, __ATOMIC_ACQUIRE)
        cdef const uint8_t* cookie = packet + asked.cookie_at
        cdef const SipKey* current
        cdef uint32_t age
        if place != 1 and place != 2:
            return NO_PROOF
        current = &self.secrets.keys[place - 1]
        asked.has_cookie = True
        if asked.cookie_length == COOKIE_OCTETS and cookie[CLIENT_COOKIE] == VERSION:
            # Serial numbers: the 32 bits of the time come round (RFC 9018 section 4.3).
            age = now - load32(cookie + CLIENT_COOKIE + TIME_AT)
            if age <= PAST_SECONDS or age >= <uint32_t>-AHEAD_SECONDS:
                if is_made_with(current, cookie, asker):
                    if age < RENEW_SECONDS:
                        memcpy(asked.cookie, cookie, COOKIE_OCTETS)
                    else:
                        make_cookie(current, cookie, asker, now, asked.cookie)
                    return GOOD_PROOF
                if is_made_with(&self.secrets.keys[2 - place], cookie, asker):
                    make_cookie(current, cookie, asker, now, asked.cookie)
                    return GOOD_PROOF
        make_cookie(current, cookie, asker, now, asked.cookie)
        return NO_PROOF if asked.cookie_length == CLIENT_COOKIE else BAD_PROOF

    def answer(self, bytes cookie not None, tuple client not None, uint32_t now):
        """Return the cookie that a client at this address (as Python has it) gets for its own, and whether that proves
        its address. ValueError: no COOKIE option has that length; or there are no secrets yet.
        """
        cdef Asked asked
        cdef Asker asker
        cdef int proof
        if len(cookie) != CLIENT_COOKIE and not 2 * CLIENT_COOKIE <= len(cookie) <= 5 * CLIENT_COOKIE:
            raise ValueError("not a cookie")
        name_asker(client, &asker)
        memset(&asked, 0, sizeof(Asked))
        asked.cookie_length = <uint8_t>len(cookie)
        proof = self.look(<const uint8_t*>PyBytes_AS_STRING(cookie), &asked, &asker, now)
        if not asked.has_cookie:
            raise ValueError("there are no secrets yet")
        return (<const char*>asked.cookie)[:COOKIE_OCTETS], proof == GOOD_PROOF
