"""The owner's exceptions for some names, as [[rule]] has them. The longest name wins, and a name before a wildcard."""

from libc.stdlib cimport free, realloc
from libc.string cimport memset

from fastdns._answer cimport Limits
from fastdns._domains cimport DOMAIN_LABELS_MAX, Suffix, find_suffixes
from fastdns._key cimport name_is_sound
from fastdns._wire cimport CLASS_IN, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB

GIVEN, NEVER, IF_NO_A = <int>AAAA_GIVEN, <int>AAAA_NEVER, <int>AAAA_IF_NO_A
MOST_RULES = <int>RULES_MAX
MOST_TYPES = <int>TYPES_MAX


def value_of_name(int number, bint itself, bint under):
    """Return what a domain has in the names of Rules: which rule it has, itself and for all under it.

    ValueError: not a number of a rule.
    """
    if not 0 < number <= RULES_MAX:
        raise ValueError(f"a rule has a number from 1 to {MOST_RULES}")
    return number * itself | (number * under) << RULE_BITS


cdef class Rules:
    """All rules, and the names that they concern."""

    def __cinit__(self, DomainSet names=None):
        """`names`: their values come from `value_of_name`."""
        self.names = DomainSet() if names is None else names
        self.limits = []
        self.stale_ms_max = -1

    def __dealloc__(self):
        free(self.at)

    def __len__(self):
        return self.count

    def add(
        self, *, uint64_t mark=0, uint64_t aaaa_mark=0, limits=None, stale=None, bint is_cached=True, int aaaa=0,
        types=(),
    ):
        """Add a rule and return its number.

        `mark` and `aaaa_mark`: fingerprints of its settings, of all answers and of those with IPv6 addresses. `limits`:
        two Limits, for groups without and with trust_ad. `stale`: seconds. `types`: that are not given.
        """
        cdef Rule* larger
        cdef Rule* rule
        if self.count == RULES_MAX or len(types) > TYPES_MAX:
            raise ValueError("too many rules, or types of a rule")
        larger = <Rule*>realloc(self.at, (self.count + 2) * sizeof(Rule))
        if larger == NULL:
            raise MemoryError
        self.at = larger
        rule = &self.at[self.count + 1]
        memset(rule, 0, sizeof(Rule))
        rule.mark, rule.aaaa_mark = mark, aaaa_mark
        rule.stale_ms = -1 if stale is None else <int64_t>(1000 * stale)
        rule.is_cached, rule.aaaa = is_cached, <uint8_t>aaaa
        if limits is not None:
            for trusts in range(2):
                self.limits.append(<Limits?>limits[trusts])
                rule.limits[<int>trusts] = <void*><Limits>limits[trusts]
        for qtype in types:
            rule.types[rule.type_count] = qtype
            rule.type_count += 1
        self.count += 1
        self.has_stale = self.has_stale or stale is not None
        self.stale_ms_max = max(self.stale_ms_max, rule.stale_ms)
        return self.count

    def number_of(self, bytes name not None):
        """Return the number of the rule that concerns a name, 0 for none. In wire form and lower case, else ValueError.
        """
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        return self.rule_of(name)

    def mark_of(self, bytes name not None, int qtype, int qclass):
        """Return what the origin of answers to a question is joined with by XOR; 0: no rule changes them.

        The name is in wire form and lower case.
        """
        cdef Rule* rule = self.find(self.number_of(name)) if self.count and qclass == CLASS_IN else NULL
        return 0 if rule == NULL else mark_of_rule(rule, <uint16_t>qtype)

    def limits_of(self, bytes name not None, int qclass, bint trust_ad):
        """Return the Limits of answers about a name; None: those of all others."""
        cdef Rule* rule = self.find(self.number_of(name)) if self.count and qclass == CLASS_IN else NULL
        return None if rule == NULL or rule.limits[trust_ad] == NULL else <Limits>rule.limits[trust_ad]

    def keeps(self, bytes name not None, int qtype, int qclass):
        """Return whether an answer that did not come by this daemon may be cached.

        Not if the rule of its name forbids it, or wants something of it that nobody has seen to: IPv6 addresses.
        """
        cdef Rule* rule = self.find(self.number_of(name)) if self.count and qclass == CLASS_IN else NULL
        return rule == NULL or bool(
            rule.is_cached and (rule.aaaa == AAAA_GIVEN or mark_of_rule(rule, <uint16_t>qtype) == rule.mark)
        )

    cdef uint32_t rule_of(self, const uint8_t* name) noexcept nogil:
        cdef Suffix found[DOMAIN_LABELS_MAX]
        cdef int count = find_suffixes(self.names, name, found, DOMAIN_LABELS_MAX)
        cdef uint32_t number
        cdef int i
        for i in range(count):
            number = found[i].value & RULES_MAX if found[i].is_whole else found[i].value >> RULE_BITS
            if number:
                return number
        return 0

    cdef Rule* find(self, uint32_t number) noexcept nogil:
        return &self.at[number] if 0 < number <= <uint32_t>self.count else NULL


cdef uint64_t mark_of_rule(const Rule* rule, uint16_t qtype) noexcept nogil:
    if qtype == TYPE_AAAA or qtype == TYPE_HTTPS or qtype == TYPE_SVCB:
        return rule.mark ^ rule.aaaa_mark
    return rule.mark


cdef bint leaves_out(const Rule* rule, uint16_t qtype) noexcept nogil:
    cdef int i
    if qtype == TYPE_AAAA and rule.aaaa == AAAA_NEVER:
        return True
    for i in range(rule.type_count):
        if rule.types[i] == qtype:
            return True
    return False


cdef bint changes_hints(const Rule* rule, uint16_t qtype) noexcept nogil:
    return rule.aaaa != AAAA_GIVEN and (qtype == TYPE_HTTPS or qtype == TYPE_SVCB)
