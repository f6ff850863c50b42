"""What is read from one block list: entries, what is left out, what is faulty."""

from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from fastdns._block_set cimport MOST_SOURCES
from fastdns._domain_lists cimport NOT_ASCII, is_space, read_domain, spell_reason
from fastdns._key cimport NAME_MAX, lower

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    FIRST_FAULTY = 10           # that are told one by one
    SHOWN_MAX = 100             # octets of a faulty line
    ADDRESS_TEXT_MAX = 46       # of IPv6, with its end

# What hosts files have for the machine itself.
cdef frozenset LOCAL_NAMES = frozenset(
    b"".join([bytes([len(label)]) + label for label in name.split(b".")]) + b"\0"
    for name in (
        b"localhost", b"localhost.localdomain", b"local", b"localdomain", b"broadcasthost", b"ip6-localhost",
        b"ip6-loopback", b"ip6-localnet", b"ip6-mcastprefix", b"ip6-allnodes", b"ip6-allrouters", b"ip6-allhosts",
    )
)


cdef bint is_word(const uint8_t* at, const uint8_t* end, const char* word) noexcept nogil:
    cdef size_t i
    if <size_t>(end - at) != strlen(word):
        return False
    for i in range(<size_t>(end - at)):
        if lower(at[i]) != <uint8_t>word[i]:
            return False
    return True


cdef bint begins_with(const uint8_t* at, const uint8_t* end, const char* word) noexcept nogil:
    cdef size_t length = strlen(word)
    return <size_t>(end - at) >= length and memcmp(at, word, length) == 0


cdef const uint8_t* end_of_token(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end and not is_space(at[0]):
        at += 1
    return at


cdef const uint8_t* skip_spaces(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end and is_space(at[0]):
        at += 1
    return at


cdef AddressKind address_kind(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef char text[ADDRESS_TEXT_MAX]
    cdef uint8_t octets[16]
    cdef const uint8_t* zone = <const uint8_t*>memchr(at, c'%', end - at)
    cdef int i
    if zone != NULL:
        end = zone
    if end - at == 1 and at[0] == c'0':
        return NULL_ADDRESS             # how some files write 0.0.0.0
    if end - at >= ADDRESS_TEXT_MAX or end - at < 2:
        return NO_ADDRESS
    memcpy(text, at, end - at)
    text[end - at] = 0
    if inet_pton(AF_INET, text, octets) == 1:
        return NULL_ADDRESS if octets[0] == 127 or is_word(at, end, b"0.0.0.0") else OTHER_ADDRESS
    if inet_pton(AF_INET6, text, octets) != 1:
        return NO_ADDRESS
    for i in range(15):
        if octets[i]:
            return OTHER_ADDRESS
    return NULL_ADDRESS if octets[15] <= 1 else OTHER_ADDRESS


cdef bint may_be_local(const uint8_t* name, int length) noexcept nogil:
    return name[0] + 2 == length or (length == 23 and memcmp(name, b"\x09localhost\x0blocaldomain", 22) == 0)


cdef class EntryCollector:
    """Puts what a list says into a builder, and counts; without a builder it only counts.

    `check_pattern` gets the text of a regular expression and returns why it is refused; None: it is not. Without it
    they are left out. `zone`: the apex of a zone file that does not name it.
    """

    def __cinit__(
        self, BlockSetBuilder builder=None, int source=0, *, check_pattern=None, bytes zone=None, **others
    ):
        if not 0 <= source < MOST_SOURCES:
            raise ValueError(f"a source has a number from 0 to {MOST_SOURCES - 1}")
        self.builder, self.check_pattern, self.zone = builder, check_pattern, zone
        memset(&self.entry, 0, sizeof(Membership))
        self.entry.source = <uint16_t>source
        self.left_out, self.first_faulty = {}, []

    cdef int take_domain(self, const uint8_t* at, const uint8_t* end, uint8_t flags, uint16_t types) except -1:
        cdef uint8_t name[NAME_MAX]
        cdef int length = self.read_name(at, end, name)
        return self.note(name, length, flags, 0, types) if length else 0

    cdef int read_name(self, const uint8_t* at, const uint8_t* end, uint8_t* name) except -1:
        cdef int length = read_domain(at, end, name)
        cdef bytes ascii
        if length == NOT_ASCII:
            try:
                ascii = at[:min(end - at, 4 * NAME_MAX)].decode().encode("idna")
            except ValueError:
                pass
            else:
                length = read_domain(<const uint8_t*>ascii, <const uint8_t*>ascii + len(ascii), name)
        if length < 0:
            self.report(at, end, spell_reason(length))
            return 0
        if may_be_local(name, length) and name[:length] in LOCAL_NAMES:
            return 0
        if c'0' <= name[length - 2] <= c'9' and address_kind(at, end) != NO_ADDRESS:
            if not is_word(at, end, b"0.0.0.0"):        # hosts files have that one beside its own name
                self.leave_out("an address, not a domain")
            return 0
        return length

    cdef int note(self, const uint8_t* name, int length, uint8_t flags, uint8_t action, uint16_t types) except -1:
        self.taken += 1
        self.entry.flags, self.entry.action, self.entry.types = flags, action, types
        return self.builder.add_entry(name, &self.entry) if self.builder is not None else 0

    cdef int note_pattern(self, bytes text, uint8_t flags, tuple types) except -1:
        cdef const uint8_t* at = text
        if self.check_pattern is None:
            return self.leave_out("a regular expression")
        try:
            pattern = text.decode("ascii")
        except ValueError:
            return self.report(at, at + len(text), "is not in ASCII")
        reason = self.check_pattern(pattern)
        if reason is not None:
            return self.report(at, at + len(text), reason)
        if self.number_of_types(types) < 0:
            return 0
        self.taken += 1
        if self.builder is not None:
            self.builder.add_pattern(pattern, self.entry.source, flags, 0, types)
        return 0

    cdef int number_of_types(self, tuple types) except -2:
        if not types or self.builder is None:
            return 0
        try:
            return <int>self.builder.number_of_types(types)
        except ValueError:
            self.leave_out("more sets of types than there may be")
            return -1

    cdef int leave_out(self, str reason) except -1:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        return 0

    cdef int report(self, const uint8_t* at, const uint8_t* end, str reason) except -1:
        self.faulty += 1
        if len(self.first_faulty) < FIRST_FAULTY:
            self.first_faulty.append((self.lines, at[:min(end - at, SHOWN_MAX)].decode("utf-8", "replace"), reason))
        return 0
