"""Block lists as text: hosts files, domains, rules of ad blockers and dnsmasq, zone files of response policies.

    hosts       0.0.0.0 x y     x and y themselves; only null addresses and those of the machine itself block
    domains     x               x itself        *.x     all names under it      .x      both
    ad blockers ||x^ …          see _adblock
    dnsmasq     address=/x/…    x and all names under it; also server=/x/… and local=/x/
    zone files  x CNAME .       see _zone_lines; the first line that is no comment tells them

The format is told by each line, since many lists mix them.
"""

from collections import namedtuple

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr, memcmp

from fastdns._adblock cimport is_adblock, read_adblock_line
from fastdns._block_set cimport ITSELF, UNDER, BlockSetBuilder
from fastdns._domain_lists cimport after_mark, is_space
from fastdns._key cimport NAME_MAX
from fastdns._list_entries cimport (
    LINE_MAX,
    NO_ADDRESS,
    NULL_ADDRESS,
    EntryCollector,
    address_kind,
    begins_with,
    end_of_token,
    skip_spaces,
)
from fastdns._zone_lines cimport ZoneLines, is_zone_line

Line = namedtuple("Line", ("number", "text", "labels", "flags"))

cdef enum:
    SHOWN_MAX = 300             # octets of a line that was looked for

cdef str COSMETIC = "a cosmetic rule"
cdef tuple DNSMASQ = (b"address=", b"server=", b"local=")


cdef bint is_cosmetic(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether "#" begins what an ad blocker hides on pages: x##.ad, x#@#.ad, x#?#.ad … A comment may be "## so"."""
    if end - at < 3:
        return False
    if at[1] == c'#':
        return at[2] == c'.' or at[2] == c'[' or at[2] == c'#' or c'a' <= at[2] | 32 <= c'z'
    return at[1] in b"@?$%" and at[2] in b"#@?$"


cdef class ListReader(EntryCollector):
    """Reads a list into a builder.

    Give it the list in parts of any size with `feed`, then call `finish`.
    """

    cdef bytes rest             # the beginning of a line whose end has not come
    cdef bint is_skipping       # the rest of a line that is too long
    cdef bint is_begun          # a line that is no comment was read
    cdef ZoneLines zone_lines   # None: it is not a zone file

    def __cinit__(
        self, BlockSetBuilder builder=None, int source=0, *, check_pattern=None, bytes zone=None, **others
    ):
        self.rest = b""
        if self.zone is not None:
            self.zone_lines, self.is_begun = ZoneLines(self), True

    def feed(self, bytes part not None):
        """Read the next part of the list."""
        cdef const uint8_t* at = part
        cdef const uint8_t* end = at + len(part)
        cdef const uint8_t* stop
        cdef bytes joined
        stop = <const uint8_t*>memchr(at, c'\n', end - at) if end > at else NULL
        if self.is_skipping:
            if stop == NULL:
                return
            self.is_skipping = False
            at = stop + 1
        elif self.rest:
            joined = self.rest + at[:(end if stop == NULL else stop) - at]
            if stop == NULL:
                self.rest = joined
                self.give_up_long_line()
                return
            self.rest = b""
            self.read_one(joined, <const uint8_t*>joined + len(joined))
            at = stop + 1
        while at < end:
            stop = <const uint8_t*>memchr(at, c'\n', end - at)
            if stop == NULL:
                break
            self.read_one(at, stop)
            at = stop + 1
        self.rest = at[:end - at] if at < end else b""
        self.give_up_long_line()

    def finish(self):
        """Read the last line, which may lack its end."""
        cdef bytes last = self.rest
        self.rest = b""
        if last:
            self.read_one(last, <const uint8_t*>last + len(last))

    cdef int give_up_long_line(self) except -1:
        cdef bytes line = self.rest
        if len(line) > LINE_MAX:
            self.rest, self.is_skipping = b"", True
            self.read_one(line, <const uint8_t*>line + len(line))
        return 0

    cdef int read_one(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read a line without its end."""
        cdef const uint8_t* first
        self.lines += 1
        at = after_mark(at, end)
        while end > at and is_space((end - 1)[0]):
            end -= 1
        self.line_at, self.line_end = at, end
        if end - at > LINE_MAX:
            return self.report(at, end, "is longer than 64 KiB")
        if self.zone_lines is not None:
            return self.zone_lines.read_line(at, end)
        first = skip_spaces(at, end)
        if first == end or first[0] == c'!' or first[0] == c';' or first[0] == c'[':
            return 0
        if first[0] == c'#':
            return self.leave_out(COSMETIC) if is_cosmetic(first, end) and first[2] in b".[" else 0
        if not self.is_begun:
            self.is_begun = True
            if is_zone_line(at, end):
                self.zone_lines = ZoneLines(self)
                return self.zone_lines.read_line(at, end)
        self.line_at = first
        return self.read_content(first, end)

    cdef int read_content(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read a line that is neither empty nor a comment, without spaces around it."""
        cdef const uint8_t* stop = <const uint8_t*>memchr(at, c'#', end - at)
        cdef bytes word
        while stop != NULL:
            if stop > at and is_space((stop - 1)[0]):
                end = stop
                while is_space((end - 1)[0]):
                    end -= 1
                break
            if is_cosmetic(stop, end):
                return self.leave_out(COSMETIC)
            stop = <const uint8_t*>memchr(stop + 1, c'#', end - stop - 1)
        for word in DNSMASQ:
            if begins_with(at, end, word):
                return self.read_dnsmasq(at + len(word), end, word == b"server=")
        if at[0] == c'.' or (at[0] == c'*' and end - at > 2 and at[1] == c'.'):
            stop = at + 1 if at[0] == c'.' else at + 2
            if not is_adblock(stop, end):
                return self.take_domain(stop, end, UNDER if at[0] == c'*' else ITSELF | UNDER, 0)
        if is_adblock(at, end):
            return read_adblock_line(self, at, end)
        stop = end_of_token(at, end)
        if stop < end and (c'0' <= at[0] <= c'9' or memchr(at, c':', stop - at) != NULL):
            if address_kind(at, stop) != NO_ADDRESS:
                return self.read_hosts(address_kind(at, stop), stop, end)
        if stop == end and is_setting(at, end):
            return self.leave_out("another setting of dnsmasq")
        return self.take_domain(at, end, ITSELF, 0)

    cdef int read_hosts(self, int kind, const uint8_t* at, const uint8_t* end) except -1:
        cdef const uint8_t* stop
        cdef uint8_t name[NAME_MAX]
        at = skip_spaces(at, end)
        while at < end:
            stop = end_of_token(at, end)
            if kind == NULL_ADDRESS:
                self.take_domain(at, stop, ITSELF, 0)
            elif self.read_name(at, stop, name):        # names of the machine itself are not counted
                self.leave_out("a name with the address of a host")
            at = skip_spaces(stop, end)
        return 0

    cdef int read_dnsmasq(self, const uint8_t* at, const uint8_t* end, bint is_server) except -1:
        """Read "/x/y/address": the address is not the business of a block list, but one of a host is no blocking."""
        cdef const uint8_t* last = end
        cdef const uint8_t* stop
        while last > at and (last - 1)[0] != c'/':
            last -= 1
        if last == at:
            return self.leave_out("another setting of dnsmasq")
        if is_server:
            if end - last == 1 and last[0] == c'#':
                return self.leave_out("server=/…/#, an exception")
        elif not (last == end or (end - last == 1 and last[0] == c'#') or address_kind(last, end) == NULL_ADDRESS):
            return self.leave_out("a name with the address of a host")
        if at[0] != c'/' or last - at < 2:
            return self.report(self.line_at, end, "names no domain (address=/DOMAIN/ does)")
        at += 1
        while at < last:
            stop = <const uint8_t*>memchr(at, c'/', last - at)
            self.take_dnsmasq_domain(at, stop)
            at = stop + 1
        return 0

    cdef int take_dnsmasq_domain(self, const uint8_t* at, const uint8_t* end) except -1:
        cdef uint8_t flags = ITSELF | UNDER
        if end - at == 1 and at[0] == c'#':
            return self.leave_out("a rule for all names")
        if end - at > 1 and at[0] == c'.':
            at += 1
        elif end - at > 2 and at[0] == c'*' and at[1] == c'.':
            at += 2
            flags = UNDER
        return self.take_domain(at, end, flags, 0)


cdef bint is_setting(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Whether it is of the form word=value, or a word that dnsmasq has alone."""
    cdef const uint8_t* i = at
    while i < end and (c'a' <= i[0] <= c'z' or i[0] == c'-' or c'0' <= i[0] <= c'9'):
        i += 1
    return i > at and i < end and i[0] == c'='


cdef class LineFinder(ListReader):
    """Finds the lines of a list that concern a name in wire form, or have this regular expression.

    `most`: lines that are found at most. It is fed like a ListReader.
    """

    cdef bytes name
    cdef str pattern
    cdef int most
    cdef readonly list found    # of Line

    def __cinit__(self, *, bytes name=None, str pattern=None, int most=10, **others):
        self.name, self.pattern, self.most, self.found = name, pattern, most, []

    cdef int note(self, const uint8_t* name, int length, uint8_t flags, uint8_t action, uint16_t types) except -1:
        cdef const uint8_t* wanted
        cdef int at = 0
        cdef int labels = 0
        if self.name is None or length > len(self.name):
            return 0
        wanted = self.name
        while len(self.name) - at > length:
            at += wanted[at] + 1
        if len(self.name) - at != length or memcmp(wanted + at, name, length) != 0:
            return 0
        if not flags & (UNDER if at else ITSELF):
            return 0
        while wanted[at]:
            labels += 1
            at += wanted[at] + 1
        return self.note_line(labels, flags)

    cdef int note_pattern(self, bytes text, uint8_t flags, tuple types) except -1:
        if self.pattern is not None and text.decode("utf-8", "replace") == self.pattern:
            return self.note_line(0, flags)
        return 0

    cdef int note_line(self, int labels, uint8_t flags) except -1:
        if len(self.found) < self.most:
            text = self.line_at[:min(self.line_end - self.line_at, SHOWN_MAX)].decode("utf-8", "replace")
            line = Line(self.lines, text, labels, flags)
            if line not in self.found:
                self.found.append(line)
        return 0
