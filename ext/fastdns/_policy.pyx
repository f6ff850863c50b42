"""The empty policy: every name is forwarded to one group, and every answer may be served."""

cdef class Policy:
    """The rules of the configuration for names. `generation` distinguishes its states."""

    def __cinit__(self, uint16_t group=DEFAULT_GROUP):
        self.generation = 1
        self.group = group
        self.is_empty = group == DEFAULT_GROUP


cdef void decide(
    Policy policy, uint16_t view, const uint8_t* key, uint16_t key_length, Decision* decision
) noexcept nogil:
    decision.policy = policy.generation
    decision.rule = 0
    decision.group = policy.group
    decision.ede = NO_EDE
    decision.verdict = FORWARD


cdef bint inspect(Policy policy, Decision* decision, const Findings* findings) noexcept nogil:
    return True
