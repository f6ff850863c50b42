"""Decides by the configuration which group of upstreams a name belongs to, or which answer it gets here."""

from collections import namedtuple

from fastdns._block_set cimport ANSWER_NODATA, ANSWER_NULL, ANSWER_NXDOMAIN
from fastdns._blocking cimport (
    ALLOWED_BY_LIST, BY_SAFE_SEARCH, NO_REASON, Outcome, ViewClass, is_blocked,
)
from fastdns._domains cimport Suffix, find_suffixes
from fastdns._key cimport KEY_TAIL, key_is_sound, key_view, name_is_sound
from fastdns._local cimport LocalMatch, answers_type, find_local
from fastdns._rules cimport AAAA_GIVEN, Rule, leaves_out, mark_of_rule
from fastdns._special_names cimport is_special
from fastdns._wire cimport CLASS_IN, TYPE_ANY, find_in_answer, load16

from fastdns._blocking import REASONS

cdef enum:
    GROUP_BITS = 16         # of a domain's value; above them the verdict, and a bit that no value is without
    VERDICT_MASK = 0x7f
    VALUE_IS_SET = 1 << 23


NXDOMAIN_VERDICT = <int>NXDOMAIN
ZONE_VERDICT = <int>ZONE
# In the order of Verdict.
VERDICTS = ("forward", "special", "local", "own_domain", "null_address", "nxdomain", "nodata", "refuse", "minimal_any")

Decided = namedtuple("Decided", ("verdict", "group", "labels", "rule", "ede", "reason", "source", "alias"))


def value_of_domain(uint16_t group, int verdict=FORWARD):
    """Return what a domain has in the set of a Policy: its group is asked, or that is answered to all under it."""
    return <uint32_t>VALUE_IS_SET | <uint32_t>verdict << GROUP_BITS | group


cdef class Policy:
    """The rules of the configuration for names. `generation` distinguishes its states.

    A name belongs to the group of its longest suffix in `domains`, with all its types: those that a parent zone
    answers (DS, RFC 4034 section 5) as well. Others belong to `group`. Before that, `local` answers its own names.
    `rules` are exceptions for some names; `protection` says what may be asked and answered at all. `blocking` says
    which names are blocked, and what else differs between the views.
    """

    def __cinit__(
        self, uint16_t group=DEFAULT_GROUP, DomainSet domains=None, LocalRecords local=None, *, Rules rules=None,
        Protection protection=None, Blocking blocking=None,
    ):
        self.generation = 1
        self.group = group
        self.domains = DomainSet() if domains is None else domains
        self.local = LocalRecords() if local is None else local
        self.rules = Rules() if rules is None else rules
        self.protection = Protection() if protection is None else protection
        self.blocking = Blocking() if blocking is None else blocking
        self.inspects = self.protection.rebind or self.protection.bogus_count != 0 or self.blocking.blocks
        self.is_empty = (
            group == DEFAULT_GROUP and self.domains.count == 0 and self.local.count == 0 and self.rules.count == 0
            and not self.inspects and self.blocking.is_empty
        )

    def group_of(self, bytes name not None):
        """Return the number of the group that a name belongs to (in wire form and lower case, else ValueError)."""
        cdef Suffix suffix
        if not name_is_sound(name, len(name)):
            raise ValueError("not a name in wire form and lower case")
        return <uint16_t>suffix.value if find_suffixes(self.domains, name, &suffix, 1) else self.group

    def decide(self, bytes key not None):
        """Return what is Decided about the question of a key. ValueError: not a key."""
        cdef Decision decision
        if not key_is_sound(key, len(key)):
            raise ValueError("not a key")
        decide(self, key_view(key, <uint16_t>len(key)), key, <uint16_t>len(key), &decision)
        return decided(&decision)

    def inspect(self, bytes key not None, bytes message not None):
        """Return None if this answer may be served to the question of a key, else what is Decided in its place.

        "ignore": it has a forged address, and is asked for again. ValueError: it cannot be read.
        """
        cdef Decision decision
        cdef Findings findings
        cdef uint16_t key_length = <uint16_t>len(key)
        if not key_is_sound(key, len(key)) or not find_in_answer(message, len(message), key, key_length, &findings):
            raise ValueError("not an answer to this question")
        decide(self, key_view(key, key_length), key, key_length, &decision)
        if self.protection.is_bogus(&findings):
            return decided(&decision)._replace(verdict="ignore")
        return None if inspect(self, key, key_length, &decision, &findings) else decided(&decision)


cdef decided(const Decision* decision):
    return Decided(
        VERDICTS[decision.verdict], decision.group, decision.labels, decision.rule,
        None if decision.ede == NO_EDE else decision.ede, REASONS[decision.reason], decision.source, decision.alias,
    )


cdef void* records_for(Policy policy, const Decision* decision) noexcept nogil:
    if decision.reason == BY_SAFE_SEARCH:
        return <void*>policy.blocking.safe_names
    return <void*>policy.local


cdef void decide(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil:
    cdef Suffix suffix
    cdef LocalMatch match
    cdef bint is_found = policy.domains.lines != 0 and find_suffixes(policy.domains, key, &suffix, 1) != 0
    decision.policy = policy.generation
    decision.mark = decision.rule = 0
    decision.ede = NO_EDE
    decision.verdict = FORWARD
    decision.group = policy.group
    decision.labels = 0
    decision.reason = NO_REASON
    decision.alias = 0
    decision.source = 0
    if policy.local.count != 0 and load16(key + key_length - KEY_TAIL + 2) == CLASS_IN:
        match = find_local(policy.local, key)
        if match.first != NULL and answers_type(&match, load16(key + key_length - KEY_TAIL)):
            decision.verdict = OWN
            # The longest own domain above it denies what it lacks; else it does that itself.
            decision.labels = match.labels
            if is_found and (suffix.value >> GROUP_BITS & VERDICT_MASK) == ZONE:
                decision.labels = suffix.labels
            return
    # Who gives the root to a group means all that would be asked for, not what is answered here.
    if (not is_found or suffix.labels == 0) and is_special(key, key_length):
        decision.verdict = LOCAL
    elif is_found:
        decision.group = <uint16_t>suffix.value
        decision.verdict = <uint8_t>(suffix.value >> GROUP_BITS & VERDICT_MASK)
        decision.labels = suffix.labels
    if decision.verdict == FORWARD and not policy.blocking.is_empty:
        decide_by_view(policy, view, key, key_length, is_found, decision)
    if decision.verdict == FORWARD:
        decide_type(policy, key, key_length, decision)


cdef void decide_by_view(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, bint has_domain, Decision* decision
) noexcept nogil:
    """Find whether the name is blocked in this view, or has another address there, and the view's own group."""
    cdef uint16_t qtype = load16(key + key_length - KEY_TAIL)
    cdef const ViewClass* of = policy.blocking.class_of(view)
    cdef Outcome outcome
    if not has_domain and of.group != DEFAULT_GROUP:
        decision.group = of.group
    if load16(key + key_length - KEY_TAIL + 2) != CLASS_IN:
        return
    if policy.blocking.blocks:
        policy.blocking.judge(view, key, qtype, &outcome)
        decision.reason, decision.source = outcome.reason, outcome.source
        if is_blocked(outcome.reason):
            block(decision, &outcome)
            return
    if of.has_safe_search and policy.blocking.has_safe_name(view, key, qtype):
        decision.verdict = OWN
        decision.reason, decision.source = BY_SAFE_SEARCH, 0
        decision.labels = find_local(policy.blocking.safe_names, key).labels


cdef inline void block(Decision* decision, const Outcome* outcome) noexcept nogil:
    decision.reason, decision.source = outcome.reason, outcome.source
    decision.ede = EDE_BLOCKED
    decision.labels = outcome.labels
    if outcome.action == ANSWER_NULL:
        decision.verdict = NULL_ADDRESS
    elif outcome.action == ANSWER_NXDOMAIN:
        decision.verdict = NXDOMAIN
    else:
        decision.verdict = NODATA if outcome.action == ANSWER_NODATA else REFUSE


cdef inline void decide_type(
    Policy policy, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil:
    """Find the rule that concerns a name, and whether its group is asked for this type."""
    cdef uint16_t qtype = load16(key + key_length - KEY_TAIL)
    cdef const Rule* rule = NULL
    if load16(key + key_length - KEY_TAIL + 2) != CLASS_IN:
        return
    if policy.rules.count:
        decision.rule = policy.rules.rule_of(key)
        if decision.rule:
            rule = policy.rules.find(decision.rule)
            decision.mark = mark_of_rule(rule, qtype)
            if leaves_out(rule, qtype):
                decision.verdict = NODATA
                decision.ede = EDE_BLOCKED
                return
    # An upstream's answer would have the types that a rule leaves out, too.
    if qtype == TYPE_ANY and (
        policy.protection.minimal_any or rule != NULL and (rule.aaaa != AAAA_GIVEN or rule.type_count)
    ):
        decision.verdict = MINIMAL_ANY


cdef bint inspect(
    Policy policy, const uint8_t* key, uint16_t key_length, Decision* decision, const Findings* findings
) noexcept nogil:
    cdef uint16_t view = key_view(key, key_length)
    if (
        policy.blocking.blocks and findings.chain.count > 1 and decision.reason < ALLOWED_BY_LIST
        and load16(key + key_length - KEY_TAIL + 2) == CLASS_IN
        and leads_to_blocked(policy, view, load16(key + key_length - KEY_TAIL), decision, findings)
    ):
        return False
    # Groups of the owner's choice may answer with private addresses: that is what they are for. The servers of a view
    # are asked about all names, as those of the default group.
    if not is_public(policy, view, decision.group) or not policy.protection.is_rebinding(findings):
        return True
    decision.verdict = NODATA
    decision.ede = EDE_FILTERED
    return False


cdef inline bint is_public(Policy policy, uint16_t view, uint16_t group) noexcept nogil:
    cdef const ViewClass* of
    if group == DEFAULT_GROUP:
        return True
    of = policy.blocking.class_of(view)
    return of != NULL and group == of.group


cdef bint leads_to_blocked(
    Policy policy, uint16_t view, uint16_t qtype, Decision* decision, const Findings* findings
) noexcept nogil:
    """True if a CNAME record leads to a name that is blocked: then the name is answered as if it was."""
    cdef Outcome outcome
    cdef int i
    for i in range(1, findings.chain.count):
        if not findings.chain.is_dname[i]:      # that is above a name of the chain
            policy.blocking.judge(view, findings.chain.names[i].octets, qtype, &outcome)
            if is_blocked(outcome.reason):
                block(decision, &outcome)
                decision.alias = <uint8_t>i
                return True
    return False
