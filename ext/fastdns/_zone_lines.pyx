"""Zone files of response policies (RPZ): triggers by QNAME, and their actions.

    CNAME .             NXDOMAIN            A 0.0.0.0, AAAA ::      no address
    CNAME *.            no data             CNAME rpz-passthru.     allows
    CNAME rpz-drop.     refused

A name concerns itself alone, `*.name` what is under it. Other triggers and other data are left out.
"""

from libc.string cimport memcmp, memcpy

from fastdns._block_set cimport (
    ALLOWS,
    ANSWER_NODATA,
    ANSWER_NULL,
    ANSWER_NXDOMAIN,
    ANSWER_REFUSED,
    ITSELF,
    UNDER,
)
from fastdns._domain_lists cimport LONG_NAME, is_space, read_domain, spell_reason
from fastdns._key cimport name_is_sound
from fastdns._list_entries cimport NO_ADDRESS, NULL_ADDRESS, address_kind, end_of_token, is_word, skip_spaces

cdef enum:
    TOKENS_MAX = 8              # of a line, that are looked at

cdef tuple TRIGGERS = (
    (b"\x06rpz-ip\x00", "a trigger by address (rpz-ip)"),
    (b"\x08rpz-nsip\x00", "a trigger by name server (rpz-nsip)"),
    (b"\x0brpz-nsdname\x00", "a trigger by name server (rpz-nsdname)"),
    (b"\x0drpz-client-ip\x00", "a trigger by client (rpz-client-ip)"),
)


cdef bint is_ttl_or_class(const uint8_t* at, const uint8_t* end) noexcept nogil:
    if is_word(at, end, b"in") or is_word(at, end, b"ch") or is_word(at, end, b"hs"):
        return True
    if not c'0' <= at[0] <= c'9':
        return False
    while at < end:
        if not (c'0' <= at[0] <= c'9' or (at[0] | 32) in b"smhdw"):
            return False
        at += 1
    return True


cdef bint is_zone_line(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* stop = end_of_token(at, end)
    cdef const uint8_t* next
    if is_word(at, stop, b"$ttl") or is_word(at, stop, b"$origin"):
        return True
    if address_kind(at, stop) != NO_ADDRESS:    # "0.0.0.0 a 1.2.3.4" is of a hosts file
        return False
    at = skip_spaces(stop, end)
    while at < end:
        stop = end_of_token(at, end)
        next = skip_spaces(stop, end)
        if is_word(at, stop, b"soa") or is_word(at, stop, b"cname"):
            return next < end
        if is_word(at, stop, b"a") or is_word(at, stop, b"aaaa"):
            return next < end and address_kind(next, end_of_token(next, end)) != NO_ADDRESS
        if not is_ttl_or_class(at, stop):
            return False
        at = next
    return False


cdef class ZoneLines:
    """Reads the lines of a zone file, one after another."""

    def __cinit__(self, EntryCollector entries not None):
        self.entries = entries
        if entries.zone is not None:
            if not name_is_sound(entries.zone, len(entries.zone)):
                raise ValueError("not a name in wire form and lower case")
            self.owner_length = <int>len(entries.zone)
            memcpy(self.owner, <const uint8_t*>entries.zone, self.owner_length)
            self.note_apex(False)
            self.owner_kind = NO_OWNER

    cdef int split(self, const uint8_t* at, const uint8_t* end, Token* tokens) noexcept nogil:
        """Write where the first tokens are; return how many. Parentheses are counted, a comment ends the line."""
        cdef int count = 0
        cdef bint is_quoted = False
        cdef bint is_inside = False     # of a token
        while at < end and (is_quoted or at[0] != c';'):
            if not is_quoted and (is_space(at[0]) or at[0] == c'(' or at[0] == c')'):
                if at[0] == c'(':
                    self.depth += 1
                elif at[0] == c')' and self.depth > 0:
                    self.depth -= 1
                if is_inside:
                    tokens[count - 1].end = at
                    is_inside = False
                at += 1
                continue
            if not is_inside:
                if count == TOKENS_MAX:         # parentheses still count
                    count -= 1
                tokens[count].at = at
                count += 1
                is_inside = True
            if at[0] == c'"':
                is_quoted = not is_quoted
            at += 2 if at[0] == c'\\' and at + 1 < end else 1
        if is_inside:
            tokens[count - 1].end = at
        return count

    cdef int read_line(self, const uint8_t* at, const uint8_t* end) except -1:
        cdef Token tokens[TOKENS_MAX]
        cdef bint is_continued = self.depth > 0
        cdef bint has_owner = at < end and not is_space(at[0])
        cdef int count = self.split(at, end, tokens)
        cdef int i = 0
        if is_continued or count == 0:
            return 0
        if has_owner:
            if tokens[0].at[0] == c'$':
                return self.read_control(tokens, count)
            self.read_owner(tokens[0].at, tokens[0].end)
            i = 1
        while i < count and is_ttl_or_class(tokens[i].at, tokens[i].end):
            i += 1
        if self.apex_length == 0 and i < count and not is_word(tokens[i].at, tokens[i].end, b"soa"):
            self.note_apex(True)        # only a part of a zone: it has the name that stands behind $ORIGIN, or none
            if has_owner:
                self.read_owner(tokens[0].at, tokens[0].end)
        if self.owner_kind == NO_OWNER:
            return 0 if has_owner else self.entries.report(at, end, "has no owner name")
        if i + 1 >= count:
            return self.entries.report(at, end, "is not a record")
        return self.read_record(tokens[i].at, tokens[i].end, &tokens[i + 1])

    cdef int read_control(self, const Token* tokens, int count) except -1:
        cdef uint8_t name[NAME_MAX]
        cdef int length
        if is_word(tokens[0].at, tokens[0].end, b"$ttl"):
            return 0
        if not is_word(tokens[0].at, tokens[0].end, b"$origin"):
            return self.entries.leave_out("$INCLUDE or $GENERATE of a zone file")
        length = self.full_name(tokens[1].at, tokens[1].end, name) if count > 1 else 0
        if length <= 0:
            return self.entries.report(tokens[0].at, tokens[count - 1].end, "names no origin")
        memcpy(self.origin, name, length)
        self.origin_length = length
        return 0

    cdef int full_name(self, const uint8_t* at, const uint8_t* end, uint8_t* name) noexcept nogil:
        """Write a name in wire form, a relative one with the origin behind it; return its length, or a Reason."""
        cdef int length = 1
        cdef bint is_relative = (end - 1)[0] != c'.'
        name[0] = 0
        if end - at == 1 and at[0] == c'@':
            at = end
        elif end - at == 1 and not is_relative:
            return length
        if at < end:
            length = read_domain(at, end, name)
        if length > 0 and is_relative and self.origin_length:
            if length - 1 + self.origin_length > NAME_MAX:
                return LONG_NAME
            memcpy(name + length - 1, self.origin, self.origin_length)
            length += self.origin_length - 1
        return length

    cdef int read_owner(self, const uint8_t* at, const uint8_t* end) except -1:
        """Note the owner of the records to come: what stands before the zone's name."""
        cdef bint is_absolute = (end - 1)[0] == c'.'
        cdef int length, i, last
        cdef bytes label
        self.owner_kind = NO_OWNER
        self.is_wildcard = at[0] == c'*' and (end - at == 1 or at[1] == c'.')
        if self.is_wildcard:
            at = at + 2 if end - at > 2 else <const uint8_t*>b"@"
            end = end if at[0] != c'@' else at + 1
        length = self.full_name(at, end, self.owner)
        if length < 0:
            return self.entries.report(at, end, spell_reason(length))
        self.owner_length = length
        if self.apex_length == 0:       # if this record is an SOA, it is that of this name
            self.owner_kind = THE_APEX
            return 0
        i = last = 0
        while length - i > self.apex_length:
            last = i
            i += self.owner[i] + 1
        if length - i != self.apex_length or memcmp(&self.owner[i], self.apex, self.apex_length) != 0 or (
            is_absolute and self.apex_length == 1
        ):
            return self.entries.report(at, end, "is not under the name of the zone")
        self.owner[i] = 0
        self.owner_length = i + 1
        self.owner_kind = A_NAME if i else ALL_NAMES_UNDER if self.is_wildcard else THE_APEX
        if self.owner[last] >= 6 and memcmp(&self.owner[last + 1], b"rpz-", 4) == 0:
            for label, trigger in TRIGGERS:
                if self.owner[last:i + 1] == label:
                    self.owner_kind, self.trigger = OTHER_TRIGGER, trigger
        return 0

    cdef int note_apex(self, bint is_origin) except -1:
        """Take the origin, or the owner, for the name of the zone."""
        if is_origin and self.origin_length:
            memcpy(self.owner, self.origin, self.origin_length)
            self.owner_length = self.origin_length
        elif is_origin:
            self.owner[0], self.owner_length = 0, 1
        memcpy(self.apex, self.owner, self.owner_length)
        self.apex_length = self.owner_length
        if self.origin_length == 0:
            memcpy(self.origin, self.owner, self.owner_length)
            self.origin_length = self.owner_length
        return 0

    cdef int read_record(self, const uint8_t* at, const uint8_t* end, const Token* data) except -1:
        cdef uint8_t target[NAME_MAX]
        cdef int length
        if is_word(at, end, b"soa"):
            return self.note_apex(False) if self.apex_length == 0 else 0
        if self.owner_kind == THE_APEX or is_word(at, end, b"ns"):
            return 0
        if self.owner_kind == OTHER_TRIGGER:
            return self.entries.leave_out(self.trigger)
        if self.owner_kind == ALL_NAMES_UNDER:
            return self.entries.leave_out("a rule for all names")
        if is_word(at, end, b"a") or is_word(at, end, b"aaaa"):
            if address_kind(data.at, data.end) == NULL_ADDRESS:
                return self.take(0, ANSWER_NULL)
        elif is_word(at, end, b"cname"):
            if is_word(data.at, data.end, b"."):
                return self.take(0, ANSWER_NXDOMAIN)
            if is_word(data.at, data.end, b"*."):
                return self.take(0, ANSWER_NODATA)
            if is_word(data.at, data.end, b"rpz-passthru."):
                return self.take(ALLOWS, 0)
            if is_word(data.at, data.end, b"rpz-drop."):
                return self.take(0, ANSWER_REFUSED)
            if is_word(data.at, data.end, b"rpz-tcp-only."):
                return self.entries.leave_out("rpz-tcp-only")
            length = self.full_name(data.at, data.end, target)
            if length == self.owner_length and memcmp(target, self.owner, length) == 0:
                return self.take(ALLOWS, 0)     # how passthru was written before it had a name
        return self.entries.leave_out("other data of a zone file")

    cdef int take(self, uint8_t flags, uint8_t action) except -1:
        return self.entries.note(
            self.owner, self.owner_length, flags | (UNDER if self.is_wildcard else ITSELF), action, 0
        )
