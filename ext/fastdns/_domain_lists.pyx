"""Lists of domains as text: one a line, or as dnsmasq has them (`server=/example/192.0.2.1`)."""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

from fastdns._domains cimport DomainHashes
from fastdns._key cimport NAME_MAX, lower

cdef enum:
    LABEL_MAX = 63

cdef dict REASONS = {
    NOT_ASCII: "is not in ASCII (write its A-labels, xn--…)",
    EMPTY_LABEL: "has an empty label (two dots in a row)",
    LONG_LABEL: "has a label of more than 63 bytes",
    LONG_NAME: "has more than 255 bytes",
    NO_DOMAIN: "is not a domain",
    ALL_NAMES: "stands for all names (use upstream.servers for these)",
}
# What dnsmasq writes before "/domain/…/": these name domains, and the address behind them is not used.
cdef tuple KEYWORDS = (b"server=", b"local=", b"address=", b"ipset=", b"nftset=", b"rebind-domain-ok=")


cdef inline bint is_of_domain(uint8_t octet) noexcept nogil:
    return (
        c'a' <= octet <= c'z' or c'A' <= octet <= c'Z' or c'0' <= octet <= c'9' or octet == c'-' or octet == c'_'
    )


cdef const uint8_t* after_mark(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while end - at >= 3 and at[0] == 0xef and at[1] == 0xbb and at[2] == 0xbf:
        at += 3
    return at


cdef str spell_reason(int reason):
    return REASONS[reason]


cdef int read_domain(const uint8_t* at, const uint8_t* end, uint8_t* name) noexcept nogil:
    cdef int length = 0
    cdef int label = 0          # where its length octet is
    cdef uint8_t octet
    if at < end and (end - 1)[0] == c'.':
        end -= 1
    if at == end:
        return NO_DOMAIN
    name[0] = 0
    length = 1
    while at < end:
        octet = at[0]
        at += 1
        if octet == c'.':
            if name[label] == 0:
                return EMPTY_LABEL
            label = length
            name[label] = 0
            length += 1
        elif octet > 126:
            return NOT_ASCII
        elif not is_of_domain(octet):
            return NO_DOMAIN
        else:
            if name[label] == LABEL_MAX:
                return LONG_LABEL
            name[label] += 1
            name[length] = lower(octet)
            length += 1
        if length >= NAME_MAX:          # the octet of the root has to follow
            return LONG_NAME
    if name[label] == 0:
        return EMPTY_LABEL
    name[length] = 0
    return length + 1


cdef class _Reader:
    """Takes the domains of a list."""

    cdef DomainHashes domains
    cdef list problems
    cdef int most
    cdef int wrong

    cdef int take(self, const uint8_t* at, const uint8_t* end, int line) except -1:
        cdef uint8_t name[NAME_MAX]
        cdef int length
        if at < end and at[0] == c'.':      # ".example" is how some write that names under it are meant, too
            at += 1
        length = ALL_NAMES if end - at == 1 and at[0] == c'#' else read_domain(at, end, name)
        if length < 0:
            return self.tell(line, spell_reason(length), at, end)
        return self.note(name, length, line)

    cdef int note(self, const uint8_t* name, int length, int line) except -1:
        return self.domains.add(name)

    cdef int tell(self, int line, str reason, const uint8_t* at, const uint8_t* end) except -1:
        self.wrong += 1
        if len(self.problems) < self.most:
            self.problems.append((line, at[:min(end - at, 100)].decode("utf-8", "replace"), reason))
        return 0

    cdef int take_line(self, const uint8_t* at, const uint8_t* end, int line) except -1:
        cdef const uint8_t* slash
        cdef bytes word
        while at < end and is_space(at[0]):
            at += 1
        while at < end and is_space((end - 1)[0]):
            end -= 1
        if at == end or at[0] == c'#':
            return 0
        for word in KEYWORDS:
            if end - at > len(word) and memcmp(at, <const char*>word, len(word)) == 0:
                return self.take_between_slashes(word, at + len(word), end, line)
        slash = <const uint8_t*>memchr(at, c'#', end - at)
        if slash != NULL and is_space((slash - 1)[0]):
            end = slash
            while is_space((end - 1)[0]):
                end -= 1
        return self.take(at, end, line)

    cdef int take_between_slashes(self, bytes word, const uint8_t* at, const uint8_t* end, int line) except -1:
        """Take the domains of "/one/other/address"."""
        cdef const uint8_t* slash
        cdef bint has_one = False
        if at[0] != c'/' and word == b"rebind-domain-ok=":     # it may have one domain without slashes
            return self.take(at, end, line)
        if at[0] != c'/':
            return self.tell(line, "names no domain (server=/DOMAIN/ does)", at, end)
        at += 1
        while True:
            slash = <const uint8_t*>memchr(at, c'/', end - at)
            if slash == NULL:
                break
            self.take(at, slash, line)
            has_one = True
            at = slash + 1
        return 0 if has_one else self.tell(line, spell_reason(NO_DOMAIN), at, end)

    cdef int read(self, bytes text) except -1:
        cdef const uint8_t* at = text
        cdef const uint8_t* end = at + len(text)
        cdef const uint8_t* line_end
        cdef int line = 0
        while at < end:
            line += 1
            line_end = <const uint8_t*>memchr(at, c'\n', end - at)
            if line_end == NULL:
                line_end = end
            self.take_line(after_mark(at, line_end), line_end, line)
            at = line_end + 1
        return 0


cdef class _Finder(_Reader):
    """Looks for one domain."""

    cdef const uint8_t* wanted
    cdef int wanted_length
    cdef int found              # the first line that names it; 0: none

    cdef int note(self, const uint8_t* name, int length, int line) except -1:
        if self.found == 0 and length == self.wanted_length and memcmp(name, self.wanted, length) == 0:
            self.found = line
        return 0


def read_domains(bytes text not None, bytes key not None, int most_problems):
    """Return the domains that a list names. Blank lines and comments (`#`) are left out.

    Beside them: how many lines, or parts of them, name no domain, and the first of these as (line, text, what is wrong
    with it). `key` is that of the builder that they are for.
    """
    cdef _Reader reader = _Reader.__new__(_Reader)
    reader.domains, reader.problems, reader.most = DomainHashes(key), [], most_problems
    reader.read(text)
    reader.domains.resize(reader.domains.count)     # they are kept for as long as the daemon runs
    return reader.domains, reader.wrong, reader.problems


def find_domain(bytes text not None, bytes name not None):
    """Return the first line of a list that names this domain (in wire form and lower case); None: none does."""
    cdef _Finder finder = _Finder.__new__(_Finder)
    finder.problems = []
    finder.wanted, finder.wanted_length = name, <int>len(name)
    finder.read(text)
    return finder.found or None
