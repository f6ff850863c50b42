"""Hosts files: an address and its names on each line, as in hosts(5)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from fastdns._domain_lists cimport after_mark, is_space, read_domain, spell_reason
from fastdns._key cimport NAME_MAX, name_is_sound
from fastdns._local cimport LocalBuilder
from fastdns._wire cimport TYPE_A, TYPE_AAAA

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    TYPE_PTR = 12
    TTL = 60                    # seconds; a line may change at any time
    ADDRESS_TEXT_MAX = 46       # of IPv6, with its end
    REVERSE_MAX = 74            # octets of the name of an address, in wire form
    LINES_AT_ONCE = 256         # then other threads get their turn
    LINE_MAX = 0xffffff         # the rest of `origin` is the source

cdef enum Kind:                 # of an address
    HOST
    ITSELF                      # the machine itself, or none: it has no name in reverse
    NO_HOST                     # a group of hosts, or a placeholder: its line is left out

# Names that are answered without any file, or mean only the machine that reads them.
cdef tuple OWN_NAMES = (
    b"\x09localhost\x00", b"\x0alocalhost4\x00", b"\x0alocalhost6\x00", b"\x0dip6-localhost\x00",
    b"\x0cip6-loopback\x00", b"\x09localhost\x0blocaldomain\x00", b"\x0alocalhost4\x0clocaldomain4\x00",
    b"\x0alocalhost6\x0clocaldomain6\x00",
)

cdef struct Address:
    uint8_t octets[16]
    uint16_t length             # 4 or 16
    uint16_t rtype
    Kind kind


cdef int reverse_name(const uint8_t* address, int length, uint8_t* out) noexcept nogil:
    """Write the name of an address in in-addr.arpa or ip6.arpa, in wire form; return its octets."""
    cdef int at = 0
    cdef int digits, nibble, value, i, shift
    for i in range(length - 1, -1, -1):
        value = address[i]
        if length == 4:
            digits = 1 + (value > 9) + (value > 99)
            out[at] = <uint8_t>digits
            for shift in range(digits, 0, -1):
                out[at + shift] = <uint8_t>(c'0' + value % 10)
                value //= 10
            at += 1 + digits
        else:
            for shift in range(2):
                out[at] = 1
                nibble = value >> (4 * shift) & 15
                out[at + 1] = <uint8_t>(c'0' + nibble if nibble < 10 else c'a' + nibble - 10)
                at += 2
    if length == 4:
        memcpy(out + at, b"\x07in-addr\x04arpa", 14)
        return at + 14
    memcpy(out + at, b"\x03ip6\x04arpa", 10)
    return at + 10


cdef Kind kind_of(Address* address) noexcept nogil:
    cdef uint8_t* octets = address.octets
    cdef int i
    if address.length == 4:
        if octets[0] == 127 and octets[1] == 0 and octets[2] == 1 and octets[3] == 1:
            return NO_HOST      # Debian's, for the machine's own name
        if octets[0] == 255 and octets[1] == 255 and octets[2] == 255 and octets[3] == 255:
            return NO_HOST
        if octets[0] == 127 or (octets[0] | octets[1] | octets[2] | octets[3]) == 0:
            return ITSELF
        return HOST
    if octets[0] == 0xff or (octets[0] == 0xfe and octets[1] == 0):     # ff02::1 ip6-allnodes, fe00::0 ip6-localnet
        return NO_HOST
    for i in range(15):
        if octets[i] != 0:
            return HOST
    return ITSELF if octets[15] <= 1 else HOST


cdef bint read_address(const uint8_t* at, const uint8_t* end, Address* out) noexcept nogil:
    cdef char text[ADDRESS_TEXT_MAX]
    if end - at >= ADDRESS_TEXT_MAX:
        return False
    memcpy(text, at, end - at)
    text[end - at] = 0
    if inet_pton(AF_INET, text, out.octets) == 1:
        out.length, out.rtype = 4, TYPE_A
    elif inet_pton(AF_INET6, text, out.octets) == 1:
        out.length, out.rtype = 16, TYPE_AAAA
    else:
        return False
    out.kind = kind_of(out)
    return True


cdef bint is_under(const uint8_t* name, int length, const uint8_t* domain, int domain_length) noexcept nogil:
    cdef int at = 0
    if domain_length == 0:
        return False
    while length - at > domain_length:
        at += name[at] + 1
    return length - at == domain_length and memcmp(name + at, domain, domain_length) == 0


cdef bint is_own(const uint8_t* name, int length):
    cdef bytes own
    if name[1] != c'l' and name[1] != c'i' and name[length - 2] != c't':
        return False
    if is_under(name, length, b"\x09localhost\x00", 11):
        return True
    for own in OWN_NAMES:
        if length == len(own) and memcmp(name, <const char*>own, length) == 0:
            return True
    return False


cdef class _Reader:
    """Takes the lines of a file."""

    cdef LocalBuilder builder
    cdef const uint8_t* domain
    cdef int domain_length      # 0: there is none
    cdef uint32_t source
    cdef list problems
    cdef int most
    cdef int wrong
    cdef int names
    # of the line
    cdef Address address
    cdef uint32_t origin
    cdef uint8_t pointed[NAME_MAX]      # the name that the address has in reverse
    cdef int pointed_length             # 0: none yet
    cdef bint is_pointed_ours           # it is under the domain

    cdef int tell(self, int line, str reason, const uint8_t* at, const uint8_t* end) except -1:
        self.wrong += 1
        if len(self.problems) < self.most:
            self.problems.append((line, at[:min(end - at, 100)].decode("utf-8", "replace"), reason))
        return 0

    cdef int take_line(self, const uint8_t* at, const uint8_t* end, int line) except -1:
        cdef const uint8_t* comment = <const uint8_t*>memchr(at, c'#', end - at)
        cdef const uint8_t* word
        cdef const uint8_t* first
        cdef const uint8_t* address_end
        cdef bint has_names = False
        if comment != NULL:
            end = comment
        first = word_at(&at, end)
        address_end = at
        if first == at:
            return 0
        if memchr(first, c'%', at - first) != NULL and memchr(first, c':', at - first) != NULL:
            return 0        # the scope of a link-local address means nothing to others
        if not read_address(first, at, &self.address):
            return self.tell(line, "is not an IP address", first, at)
        self.origin = self.source << 24 | <uint32_t>min(line, LINE_MAX)
        self.pointed_length = 0
        self.is_pointed_ours = False
        while True:
            word = word_at(&at, end)
            if word == at:
                break
            has_names = True
            if self.address.kind != NO_HOST and not (at - word == 7 and memcmp(word, b"0.0.0.0", 7) == 0):
                self.take_name(word, at, line)
        if not has_names:
            return self.tell(line, "has no name behind the address", first, address_end)
        if self.pointed_length:
            self.take_reverse()
        return 0

    cdef int take_name(self, const uint8_t* at, const uint8_t* end, int line) except -1:
        cdef uint8_t name[NAME_MAX]
        cdef int length = read_domain(at, end, name)
        if length < 0:
            return self.tell(line, spell_reason(length), at, end)
        if is_own(name, length):
            return 0
        if self.builder.last_origin(name) >> 24 != self.source:
            self.names += 1         # not one of a line before
        self.take(name, length)
        if name[0] + 2 == length and length - 1 + self.domain_length <= NAME_MAX and self.domain_length:
            memcpy(name + length - 1, self.domain, self.domain_length)
            self.take(name, length - 1 + self.domain_length)
        return 0

    cdef int take(self, const uint8_t* name, int length) except -1:
        cdef bint is_ours = is_under(name, length, self.domain, self.domain_length)
        self.builder.put(name, self.address.rtype, TTL, self.address.octets, self.address.length, self.origin)
        if self.address.kind == HOST and (self.pointed_length == 0 or (is_ours and not self.is_pointed_ours)):
            memcpy(self.pointed, name, length)
            self.pointed_length = length
            self.is_pointed_ours = is_ours
        return 0

    cdef int take_reverse(self) except -1:
        """Let the address have this name, unless a line before gave it one."""
        cdef uint8_t name[REVERSE_MAX]
        reverse_name(self.address.octets, self.address.length, name)
        if not self.builder.has_records(name):
            self.builder.put(name, TYPE_PTR, TTL, self.pointed, <uint16_t>self.pointed_length, self.origin)
        return 0


cdef const uint8_t* word_at(const uint8_t** at, const uint8_t* end) noexcept nogil:
    """The next word; `at` is its end afterwards. Both are the same: there is none."""
    cdef const uint8_t* word = at[0]
    while word < end and is_space(word[0]):
        word += 1
    at[0] = word
    while at[0] < end and not is_space(at[0][0]):
        at[0] += 1
    return word


def read_hosts(
    bytes text not None, LocalBuilder builder not None, uint32_t source, bytes domain not None, int most_problems
):
    """Add the records of a hosts file to the builder: A or AAAA for each name, PTR for each address.

    Return how many different names there are, how many lines or names are wrong, and the first of these as (line,
    text, what is wrong with it). A host is found by its name alone and under `domain` (in wire form; b"": there is none). Other
    threads get their turn between lines.
    """
    cdef const uint8_t* at = text
    cdef const uint8_t* end = at + len(text)
    cdef const uint8_t* line_end
    cdef _Reader reader = _Reader.__new__(_Reader)
    cdef int line = 0
    if domain and not name_is_sound(domain, len(domain)):
        raise ValueError("not a name in wire form and lower case")
    reader.builder, reader.source, reader.problems, reader.most = builder, source, [], most_problems
    reader.domain, reader.domain_length = domain, <int>len(domain)
    while at < end:
        line += 1
        line_end = <const uint8_t*>memchr(at, c'\n', end - at)
        if line_end == NULL:
            line_end = end
        reader.take_line(after_mark(at, line_end), line_end, line)
        at = line_end + 1
        if line % LINES_AT_ONCE == 0:
            with nogil:         # so that a hub is not kept waiting for a large file
                pass
    return reader.names, reader.wrong, reader.problems


def reverse_of(bytes address not None):
    """Return the name of an address of 4 or 16 octets in in-addr.arpa or ip6.arpa, in wire form."""
    cdef uint8_t name[REVERSE_MAX]
    if len(address) != 4 and len(address) != 16:
        raise ValueError("an address has 4 or 16 bytes")
    return (<const char*>name)[:reverse_name(address, <int>len(address), name)]
