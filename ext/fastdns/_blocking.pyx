"""Decides whether a name is blocked.

The user's rules count first: the one with the longest domain. Then the lists: what one marks as important, else what
allows, else what blocks, each whatever the length of its domain. Regular expressions of lists count like their domains.
"""

import logging
import time
from collections import namedtuple

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdns._block_set cimport (
    ALLOWS, ANSWER_NULL, ANSWER_REFUSED, AS_CONFIGURED, IMPORTANT, ITSELF, UNDER, Membership,
)
from fastdns._domains cimport DOMAIN_LABELS_MAX, Suffix, expect_suffixes, find_suffixes
from fastdns._key cimport labels_of, name_is_sound
from fastdns._local cimport find_local
from fastdns._wire cimport TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_HTTPS, TYPE_SVCB

from fastdns.defects import report

log = logging.getLogger("fastdns.policy")

cdef enum Role:             # of a list in a class
    UNUSED
    BLOCKS
    EXCEPTS                 # all that it has is allowed

cdef enum Rank:             # of an entry: the highest counts
    NOTHING
    BLOCK
    ALLOW
    IMPORTANT_BLOCK
    IMPORTANT_ALLOW

cdef enum:
    ALL_CLASSES = 0xffff
    CLASSES_MAX = 0xffff

ROLES = (<int>UNUSED, <int>BLOCKS, <int>EXCEPTS)
ALL_VIEWS = <int>ALL_CLASSES
NOTE_OCTETS_MAX = <int>NOTE_OCTETS
# In the order of Reason.
REASONS = (
    "", "list", "rule", "pattern", "safe_search", "allowed_by_list", "allowed_by_rule", "allowed_by_pattern",
)
# A pattern that computes for so many seconds on one name is not asked again: it would keep all clients waiting.
PATTERN_SECONDS = 0.02
PATTERNS_SECONDS = 0.1      # nor are the slowest of those that do so together
LOOK_AGAIN_SECONDS = 1.0    # which of them take long

# What a class of views does. `roles`: bytes, a Role for each list; `group`: of upstreams, 0 is the default group.
ViewSettings = namedtuple(
    "ViewSettings", ("blocks", "answer", "roles", "group", "safe_search"),
    defaults=(True, <int>ANSWER_NULL, b"", 0, False),
)
# A regular expression of a list. `search`: called with a name as text, says whether it matches.
Pattern = namedtuple("Pattern", ("search", "source", "flags", "types", "action"))


cdef inline int rank_of(uint8_t role, uint8_t flags) noexcept nogil:
    if role == EXCEPTS or flags & ALLOWS:
        return IMPORTANT_ALLOW if flags & IMPORTANT else ALLOW
    return IMPORTANT_BLOCK if flags & IMPORTANT else BLOCK


cdef inline uint8_t action_of(uint8_t own, const ViewClass* of) noexcept nogil:
    return of.action if own == AS_CONFIGURED or own > ANSWER_REFUSED else own


cdef class Blocking:
    """All that [block], [[view]] and the rules made at run time say of names.

    `views`: a ViewSettings for each class. `rules`: the user's, in sets, the source of each; at one domain the set with
    the lowest number counts. `rule_views`: for each set the class that it is for, or ALL_VIEWS. `patterns`: a
    Pattern each. `list_notes`, `rule_notes`: UTF-8 about each list and set of rules, for clients. `about`: anything.
    ValueError: these do not fit together.

    Without arguments it decides nothing. To replace it, make another Policy with it and give that to
    `Cache.use_policy`: all that is cached is then judged again, each entry when it is next asked for.
    """

    def __cinit__(
        self, views=(), *, BlockSet rules=None, rule_views=(), BlockSet lists=None, patterns=(),
        LocalRecords safe_names=None, uint32_t ttl=10, list_notes=(), rule_notes=(), about=None,
    ):
        cdef ViewClass* of
        cdef size_t place
        cdef bytes roles, note
        self.rules = BlockSet() if rules is None else rules
        self.lists = BlockSet() if lists is None else lists
        self.safe_names = LocalRecords() if safe_names is None else safe_names
        self.ttl, self.about = ttl, about
        self.patterns, self.views = tuple(patterns), tuple(views)
        self.kept, self.remembered = [], {}
        self.rule_sets, self.sources = <uint32_t>len(rule_views), <uint32_t>len(list_notes)
        self.class_count = <int>len(self.views)
        if self.class_count > CLASSES_MAX or len(rule_notes) != len(rule_views):
            raise ValueError("too many views, or not a note for each set of rules")
        self.classes = <ViewClass*>calloc(max(self.class_count, 1), sizeof(ViewClass))
        self.rule_views = <uint16_t*>calloc(max(self.rule_sets, <uint32_t>1), sizeof(uint16_t))
        self.notes = <Note*>calloc(max(self.sources + self.rule_sets, <uint32_t>1), sizeof(Note))
        if self.classes == NULL or self.rule_views == NULL or self.notes == NULL:
            raise MemoryError
        for place in range(self.rule_sets):
            self.rule_views[place] = rule_views[place]
        for place, text in enumerate([*list_notes, *rule_notes]):
            note = text[:NOTE_OCTETS]
            self.kept.append(note)
            self.notes[place].octets = note
            self.notes[place].length = <uint16_t>len(note)
        self.is_empty = True
        for place, settings in enumerate(self.views):
            roles = settings.roles
            if len(roles) != self.sources:
                raise ValueError("not a role for each list")
            self.kept.append(roles)
            of = &self.classes[place]
            of.roles, of.group = roles, settings.group
            of.blocks, of.has_safe_search = settings.blocks, settings.safe_search and self.safe_names.count != 0
            of.action = settings.answer
            if of.action == AS_CONFIGURED or of.action > ANSWER_REFUSED:
                of.action = ANSWER_NULL
            of.uses_lists = of.blocks and self.lists.domains.count != 0 and any(roles)
            of.uses_patterns = of.blocks and any(roles[one[1]] for one in self.patterns)
            if of.uses_lists or of.uses_patterns or (of.blocks and self.rules.domains.count != 0):
                self.blocks = True
            if of.group or of.has_safe_search:
                self.is_empty = False
        self.is_empty = self.is_empty and not self.blocks

    def __dealloc__(self):
        free(self.classes)
        free(self.rule_views)
        free(self.notes)

    def find(self, bytes name not None, int qtype, int view=0):
        """Return (reason, labels, source, action) about a name in wire form and lower case; reason "": nothing.

        `labels`: of the domain that a list or rule names; `source`: number of the list or set of rules, and 1.
        ValueError: not such a name.
        """
        cdef Outcome outcome
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        self.judge(<uint16_t>view, name, <uint16_t>qtype, &outcome)
        return REASONS[outcome.reason], outcome.labels, outcome.source, outcome.action

    def matches(self, bytes name not None):
        """Return the numbers of the patterns that match a name in wire form and lower case."""
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        return self.matching(name)

    cdef const ViewClass* class_of(self, uint16_t view) noexcept nogil:
        """The class; one that is not known is that of clients in no view. NULL: there is none."""
        if view < self.class_count:
            return &self.classes[view]
        return self.classes if self.class_count else NULL

    cdef void judge(self, uint16_t view, const uint8_t* name, uint16_t qtype, Outcome* out) noexcept nogil:
        cdef const ViewClass* of = self.class_of(view)
        cdef int rank = NOTHING
        memset(out, 0, sizeof(Outcome))
        if of == NULL or not of.blocks:
            return
        if self.rules.domains.lines != 0 and self.judge_by_rules(<uint16_t>(of - self.classes), name, out):
            if out.reason == BY_RULE:
                out.action = of.action
            return
        if of.uses_lists:
            rank = self.judge_by_lists(of, name, qtype, out)
        if of.uses_patterns and rank != IMPORTANT_ALLOW:
            self.judge_by_patterns(of, name, qtype, rank, out)

    cdef void expect(self, uint16_t view, const uint8_t* name) noexcept nogil:
        cdef const ViewClass* of = self.class_of(view)
        # Hashing twice costs less than waiting for memory: lists are larger than a processor's cache.
        if of != NULL and of.uses_lists:
            expect_suffixes(self.lists.domains, name)

    def prefetch(self, bytes name not None, int view=0):
        """Have the processor fetch what `find` will read, for measurements. ValueError: not such a name."""
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        self.expect(<uint16_t>view, name)

    cdef bint judge_by_rules(self, uint16_t view, const uint8_t* name, Outcome* out) noexcept nogil:
        """True: a rule of the user concerns it."""
        cdef Suffix found[DOMAIN_LABELS_MAX]
        cdef const Membership* members
        cdef int count = find_suffixes(self.rules.domains, name, found, DOMAIN_LABELS_MAX)
        cdef int i, k, most
        for i in range(count):
            members = self.rules.members(found[i].value, &most)
            for k in range(most):
                if members[k].source < self.rule_sets and (
                    self.rule_views[members[k].source] == ALL_CLASSES
                    or self.rule_views[members[k].source] == view
                ):
                    out.reason = ALLOWED_BY_RULE if members[k].flags & ALLOWS else BY_RULE
                    out.labels = found[i].labels
                    out.source = members[k].source + 1
                    return True
        return False

    cdef int judge_by_lists(
        self, const ViewClass* of, const uint8_t* name, uint16_t qtype, Outcome* out
    ) noexcept nogil:
        cdef Suffix found[DOMAIN_LABELS_MAX]
        cdef const Membership* member
        cdef int count = find_suffixes(self.lists.domains, name, found, DOMAIN_LABELS_MAX)
        cdef int best = NOTHING
        cdef int i, most, rank
        cdef int _k
        for i in range(count):
            member = self.lists.members(found[i].value, &most)
            for _k in range(most):
                if (
                    member.source < self.sources and of.roles[member.source] != UNUSED
                    and member.flags & (ITSELF if found[i].is_whole else UNDER)
                    and (member.types == 0 or self.lists.has_type(member.types, qtype))
                ):
                    rank = rank_of(of.roles[member.source], member.flags)
                    if rank > best:
                        best = rank
                        out.reason = ALLOWED_BY_LIST if rank == ALLOW or rank == IMPORTANT_ALLOW else BY_LIST
                        out.action = action_of(member.action, of)
                        out.labels = found[i].labels
                        out.source = member.source + 1
                member += 1
        return best

    cdef void judge_by_patterns(
        self, const ViewClass* of, const uint8_t* name, uint16_t qtype, int rank, Outcome* out
    ) noexcept with gil:
        cdef int found, source, flags, action
        cdef size_t length = 0
        try:
            while name[length] != 0:
                length += name[length] + 1
            for number in self.matching(name[:length + 1]):
                _, source, flags, types, action = self.patterns[number]
                if of.roles[source] == UNUSED or not has_type(types, qtype):
                    continue
                found = rank_of(of.roles[source], <uint8_t>flags)
                if found > rank:
                    rank = found
                    out.reason = ALLOWED_BY_PATTERN if found == ALLOW or found == IMPORTANT_ALLOW else BY_PATTERN
                    out.action = action_of(<uint8_t>action, of)
                    out.labels = labels_of(name)
                    out.source = <uint16_t>(source + 1)
        except Exception as defect:     # the name is judged without them
            report(defect)

    cdef tuple matching(self, bytes name):
        """The numbers of the patterns that match; remembered, of so many names the ones asked last."""
        known = self.remembered.get(name)
        if known is not None:
            return known
        text = spelled(name)
        began = time.perf_counter()
        found = [number for number, pattern in enumerate(self.patterns) if pattern[0](text)]
        if time.perf_counter() - began > PATTERN_SECONDS and began >= self.look_again_at:
            self.leave_out_slow(text)
            self.look_again_at = time.perf_counter() + LOOK_AGAIN_SECONDS
        if len(self.remembered) >= NAMES_REMEMBERED:
            self.remembered.pop(next(iter(self.remembered)), None)
        self.remembered[name] = tuple(found)
        return self.remembered[name]

    cdef leave_out_slow(self, str text):
        """Leave out the patterns that take long, and the slowest of many, unless it is the machine that is busy."""
        kept, taken = list(self.patterns), []
        for number, pattern in enumerate(kept):
            began = time.thread_time()
            pattern.search(text)
            taken.append((time.thread_time() - began, number))
        seconds_in_all = sum([seconds for seconds, _ in taken])
        for seconds, number in sorted(taken, reverse=True):
            if seconds <= PATTERN_SECONDS and seconds_in_all <= PATTERNS_SECONDS:
                break
            seconds_in_all -= seconds
            log.warning("a regular expression of a block list takes too long and is left out: %r", kept[number].search)
            kept[number] = kept[number]._replace(search=never)
        self.patterns = tuple(kept)

    cdef bint has_safe_name(self, uint16_t view, const uint8_t* name, uint16_t qtype) noexcept nogil:
        cdef const ViewClass* of = self.class_of(view)
        if of == NULL or not of.has_safe_search:
            return False
        # The others, as MX, are about the domain and not about the search engine.
        if not (
            qtype == TYPE_A or qtype == TYPE_AAAA or qtype == TYPE_HTTPS or qtype == TYPE_SVCB or qtype == TYPE_CNAME
            or qtype == TYPE_ANY
        ):
            return False
        return find_local(self.safe_names, name).first != NULL

    cdef Note note_of(self, int reason, uint16_t source) noexcept nogil:
        cdef Note none
        cdef bint is_rule = reason == BY_RULE or reason == ALLOWED_BY_RULE
        none.octets, none.length = NULL, 0
        if source == 0 or source > (self.rule_sets if is_rule else self.sources):
            return none
        return self.notes[source - 1 + (self.sources if is_rule else 0)]


def never(text):
    """Match nothing."""
    return None


cdef bint has_type(tuple types, uint16_t qtype):
    """Whether an entry with these types, below 0 for all but them, holds for one."""
    if not types:
        return True
    return qtype in types if types[0] > 0 else -<int>qtype not in types


cdef str spelled(bytes name):
    """A name as patterns see it: without the last dot, each octet a character."""
    cdef list labels = []
    cdef int at = 0
    while name[at] != 0:
        labels.append(name[at + 1:at + 1 + name[at]].decode("latin-1"))
        at += name[at] + 1
    return ".".join(labels)
