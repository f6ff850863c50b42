"""Rules for names in the syntax of ad blockers, as AdGuard Home reads them.

    ||x^        x and all names under it        ||*.x^  all names under it
    |x^  x      x itself                        /re/    names that a regular expression matches
    @@rule      allows                          rule$important,dnstype=A|~AAAA
    *.x^  .x^   all names under x               x^  |x  ||x*y^ …    become regular expressions

What concerns pages rather than names (cosmetic rules, paths, $third-party …) or only some clients is left out.
"""

import re

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr

from fastdns._block_set cimport ALLOWS, IMPORTANT, ITSELF, UNDER

cdef enum:
    OPTIONS_REMEMBERED = 1000

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "NAPTR": 35, "DS": 43,
    "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "ANY": 255, "CAA": 257,
}
# Options that are counted by their names; all others are one number.
cdef frozenset KNOWN = frozenset((
    "client", "ctag", "dnsrewrite", "denyallow", "badfilter", "domain", "third-party", "all", "document", "popup",
    "script", "image", "app", "network", "removeparam", "redirect", "csp",
))
cdef object NAME = re.compile(rb"[A-Za-z0-9_.*-]+")
cdef object PORT_OR_PATH = re.compile(rb"[/:?=&]")
cdef dict read_options_before = {}


cdef bint is_adblock(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* i = at
    if at[0] == c'|' or at[0] == c'/' or (end - at > 1 and at[0] == c'@' and at[1] == c'@'):
        return True
    while i < end:
        if i[0] == c'^' or i[0] == c'$' or i[0] == c'|' or i[0] == c'*':
            return True
        i += 1
    return False


cdef int read_adblock_line(EntryCollector entries, const uint8_t* at, const uint8_t* end) except -1:
    cdef uint8_t flags = 0
    cdef const uint8_t* stop
    cdef const uint8_t* begin = at
    cdef bytes options = b""
    if end - at > 1 and at[0] == c'@' and at[1] == c'@':
        flags = ALLOWS
        at += 2
    if at < end and at[0] == c'/':
        return read_expression(entries, at, end, flags)
    stop = <const uint8_t*>memchr(at, c'$', end - at)
    if stop != NULL:
        options = stop[1:end - stop]
        end = stop
    if end - at > 2 and at[0] == c'|' and at[1] == c'|' and not options:
        # Nearly all lines are of this form: ||domain^
        stop = end - 1 if (end - 1)[0] == c'|' else end
        if (stop - 1)[0] == c'^' and is_plain(at + 2, stop - 1):
            return entries.take_domain(at + 2, stop - 1, flags | ITSELF | UNDER, 0)
    return read_rule(entries, at[:end - at], options, flags, begin[:entries.line_end - begin])


cdef bint is_plain(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end:
        if at[0] in b"*^|/:?=&$":
            return False
        at += 1
    return True


cdef int read_rule(EntryCollector entries, bytes text, bytes options, uint8_t flags, bytes line) except -1:
    """Read what stands before the options."""
    cdef uint8_t more
    more, types, reason = read_options(options)
    if reason is not None:
        return entries.leave_out(reason)
    flags |= more
    is_domain, is_start, is_end = text.startswith(b"||"), False, False
    if is_domain:
        text = text[2:]
    elif text.startswith(b"|"):
        is_start, text = True, text[1:]
    if text.endswith(b"|"):
        is_end, text = True, text[:len(text) - 1]
    if text.endswith(b"^"):
        is_end, text = True, text[:len(text) - 1]
    if PORT_OR_PATH.search(text):
        return entries.leave_out("a rule for addresses of pages")
    if not text.strip(b"*."):
        return entries.leave_out("a rule for all names")
    if b"*" not in text and not text.startswith(b".") and not text.endswith((b".", b"-", b"_")):
        # Without marks it is a domain as in a list of domains, and so is ||x without its end.
        if is_domain or is_start == is_end:
            return take(entries, text, flags | (ITSELF | UNDER if is_domain else ITSELF), types)
    parent = text.lstrip(b"*")
    if is_end and not is_start and parent.startswith(b".") and b"*" not in parent:
        return take(entries, parent[1:], flags | UNDER, types)
    if not NAME.fullmatch(text):
        return entries.report(line, <const uint8_t*>line + len(line), "is not a domain")
    return entries.note_pattern(expression(text, is_domain, is_start, is_end), flags | ITSELF | UNDER, types)


cdef int take(EntryCollector entries, bytes text, uint8_t flags, tuple types) except -1:
    cdef const uint8_t* at = text
    cdef int number = entries.number_of_types(types)
    return entries.take_domain(at, at + len(text), flags, <uint16_t>number) if number >= 0 else 0


cdef bytes expression(bytes text, bint is_domain, bint is_start, bint is_end):
    """A regular expression for a rule with `*`. The first place for a part is as good as any: it does not go back."""
    first, *others = text.lower().split(b"*")
    parts = [re.escape(part) for part in others if part]
    made = (b"(?:^|\\.)" if is_domain else b"^" if is_start else b"") + re.escape(first)
    if parts and is_end and not text.endswith(b"*"):
        last = parts.pop()
        return made + b"".join([b"(?>.*?" + part + b")" for part in parts]) + b".*" + last + b"$"
    return made + b"".join([b"(?>.*?" + part + b")" for part in parts]) + (
        b"$" if is_end and not text.endswith(b"*") else b""
    )


cdef int read_expression(EntryCollector entries, const uint8_t* at, const uint8_t* end, uint8_t flags) except -1:
    """Read /expression/ with options behind it."""
    cdef uint8_t more
    cdef const uint8_t* stop = end - 1
    while stop > at and not (stop[0] == c'/' and (stop + 1 == end or stop[1] == c'$')):
        stop -= 1
    if stop <= at + 1:
        return entries.leave_out("a rule for addresses of pages")
    more, types, reason = read_options(stop[2:end - stop] if stop + 1 < end else b"")
    if reason is not None:
        return entries.leave_out(reason)
    return entries.note_pattern(at[1:stop - at], flags | more | ITSELF | UNDER, types)


cdef tuple read_options(bytes text):
    """Return (flags, types, why the rule is left out; None: it is not) of the options behind `$`."""
    if not text:
        return 0, (), None
    read = read_options_before.get(text)
    if read is None:
        if len(read_options_before) >= OPTIONS_REMEMBERED:
            read_options_before.clear()
        read = read_options_before[text] = options_of(text.decode("utf-8", "replace"))
    return read


cdef tuple options_of(str text):
    flags, types = 0, ()
    for option in text.split(","):
        name, _, value = option.strip().partition("=")
        if name == "important":
            flags = IMPORTANT
        elif name == "dnstype":
            types = types_of(value)
            if types is None:
                return 0, (), "$dnstype with types that are not known"
        else:
            name = name.lstrip("~").lower()
            return 0, (), f"${name}" if name in KNOWN else "an option that is not for names"
    return flags, types, None


cdef object types_of(str text):
    """The types of "A|AAAA" or "~A|~AAAA", those of the second form below 0; None: they are not known."""
    wanted, others = set(), set()
    for word in text.upper().split("|"):
        word = word.strip()
        named = word.lstrip("~")
        number = TYPES.get(named)
        if number is None and named.startswith("TYPE") and named[4:].isdecimal() and len(named) < 10:
            number = int(named[4:])
        if number is None or not 0 < number <= 65535:
            return None
        (others if word.startswith("~") else wanted).add(number)
    if wanted:
        return tuple(sorted(wanted - others)) or None
    return tuple(sorted([-number for number in others]))
