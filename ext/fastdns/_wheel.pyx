"""A timer wheel: timers in milliseconds, set and cancelled in constant time."""

TICK_SECONDS = 0.001 * TICK_MS


cdef class Wheel:
    """Timers of one process. The caller fetches the due ones every TICK_SECONDS, as long as `count` is not 0.

    `on_busy` is called when that begins.
    """

    cdef void wake(self) except *:
        if self.count == 0 and self.on_busy is not None:
            self.on_busy()

    cdef void set(self, Timer* timer, int64_t due_ms) noexcept nogil:
        cdef Timer** slot
        self.cancel(timer)
        # A whole tick later than due, never earlier; and never in a slot that was passed already.
        timer.tick = max(due_ms // TICK_MS + 1, self.tick)
        slot = &self.slots[timer.tick % WHEEL_SLOTS]
        timer.previous = NULL
        timer.next = slot[0]
        if slot[0] != NULL:
            slot[0].previous = timer
        slot[0] = timer
        timer.is_set = True
        self.count += 1

    cdef void cancel(self, Timer* timer) noexcept nogil:
        if not timer.is_set:
            return
        if timer.previous != NULL:
            timer.previous.next = timer.next
        else:
            self.slots[timer.tick % WHEEL_SLOTS] = timer.next
        if timer.next != NULL:
            timer.next.previous = timer.previous
        timer.is_set = False
        self.count -= 1

    cdef Timer* next_due(self, int64_t now_ms) noexcept nogil:
        cdef int64_t now_tick = now_ms // TICK_MS
        cdef Timer* timer
        if now_tick - self.tick > WHEEL_SLOTS:
            self.tick = now_tick - WHEEL_SLOTS      # one turn sees every slot
        while self.tick <= now_tick:
            timer = self.slots[self.tick % WHEEL_SLOTS]
            while timer != NULL and timer.tick > self.tick:
                timer = timer.next                  # of a later turn of the wheel
            if timer != NULL:
                self.cancel(timer)
                return timer
            self.tick += 1
        return NULL
