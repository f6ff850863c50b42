"""The control page. Changes are written under the writer lock and read without any (a sequence lock for each slot)."""

import os
import struct
from pathlib import Path

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcmp, memcpy, memset

from fastdns._key cimport KEY_TAIL, NAME_MAX, key_is_sound, key_under, name_is_sound
from fastdns._wire cimport load16

from fastdns import mapped

cdef extern from * nogil:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELAXED
        __ATOMIC_RELEASE
        __ATOMIC_ACQ_REL
    uint64_t __atomic_load_n(const uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)
    uint64_t __atomic_fetch_or(uint64_t* at, uint64_t value, int order)
    uint64_t __atomic_add_fetch(uint64_t* at, uint64_t value, int order)
    bint __atomic_compare_exchange_n(
        uint64_t* at, uint64_t* expected, uint64_t value, bint weak, int success, int failure
    )
    void __atomic_thread_fence(int order)

cdef enum:
    EPOCH_AT = 64           # words, a cache line each
    GENERATION_AT = 128
    SUSPECT_AT = 192
    TALLY_AT = 256
    ORIGIN_AT = 320
    REFRESHED_AT = 384
    PATH_AT = 2048
    PATH_MAX = 2048
    SLOTS_AT = 4096
    SLOT_OCTETS = 320
    OCTETS = SLOTS_AT + SLOT_OCTETS * CHANGES_KEPT
    SUSPECT = 1             # bits of the word at SUSPECT_AT; not 0: no process reads the environment
    CONDEMNED = 2

MAGIC = b"fastdnsC"
VERSION = 1
HEAD = struct.Struct("=8sII")       # magic, version, bytes of the path of the LMDB environment

if sizeof(Change) > SLOT_OCTETS:
    raise ImportError("a Change does not fit its slot")


def page_at(path):
    """The mapped page, or None if there is no usable one."""
    try:
        memory = mapped.attach(path, OCTETS)
    except (OSError, ValueError):
        return None
    return None if path_in(memory) is None else memory


def path_in(memory):
    """The path that a page names; None: it is not a page of this version."""
    magic, version, length = HEAD.unpack_from(memory)
    if magic != MAGIC or version != VERSION or not 0 < length <= PATH_MAX:
        return None
    directory = memory[PATH_AT:PATH_AT + length]
    return None if b"\0" in directory else Path(os.fsdecode(directory))


cdef inline uint64_t* word(uint8_t* page, size_t at) noexcept nogil:
    return <uint64_t*>(page + at)


cdef bint change_is_sound(const Change* change) noexcept nogil:
    if change.kind == CHANGE_ALL:
        return change.name_length == 0
    return CHANGE_NAME <= change.kind <= CHANGE_REFRESH and name_is_sound(change.name, change.name_length)


cdef bint change_matches(const Change* change, const uint8_t* key, uint16_t key_length) noexcept nogil:
    cdef int name_length = key_length - KEY_TAIL
    if change.kind == CHANGE_ALL:
        return True
    if change.kind == CHANGE_UNDER:
        return key_under(key, key_length, change.name, change.name_length)
    if change.kind != CHANGE_NAME or name_length != change.name_length:
        return False
    if change.qtype != 0 and change.qtype != load16(key + name_length):
        return False
    return memcmp(key, change.name, name_length) == 0


cdef class Control:
    """The control page. Anyone may read it and set its words; `post` is for the holder of the writer lock."""

    @staticmethod
    def open(path, cache):
        """Return the page at path with its content, or a new one (None: without a file).

        It names `cache`, the directory of the LMDB environment, from then on. OSError: there is no room for it.
        """
        cdef Control control = Control.__new__(Control)
        directory = os.fsencode(cache)
        if not 0 < len(directory) <= PATH_MAX:
            raise ValueError(f"{cache} has more than {PATH_MAX} bytes, or none")
        first = bytearray(SLOTS_AT)
        first[:HEAD.size] = HEAD.pack(MAGIC, VERSION, len(directory))
        first[PATH_AT:PATH_AT + len(directory)] = directory
        old = None if path is None else page_at(path)
        if old is None:
            control.is_new = True
            control.use(mapped.anonymous(OCTETS, first) if path is None else mapped.create(path, OCTETS, first))
        elif path_in(old) == Path(cache):
            control.use(old)
        else:
            # In a page by itself, so that no process ever reads half a path.
            renamed = bytearray(old)
            renamed[:HEAD.size] = first[:HEAD.size]
            renamed[PATH_AT:SLOTS_AT] = first[PATH_AT:]
            control.use(mapped.create(path, OCTETS, renamed))
        return control

    @staticmethod
    def attach(path):
        """Return the page of a daemon, running or not (OSError: there is none; ValueError: of another version)."""
        cdef Control control = Control.__new__(Control)
        memory = mapped.attach(path, OCTETS)
        if path_in(memory) is None:
            raise ValueError(f"{path} was written by another version of fastdns, or is damaged")
        control.use(memory)
        return control

    cdef int use(self, memory) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
        self.page = <uint8_t*>view.buf
        PyBuffer_Release(&view)
        self.memory = memory        # a mapping stays where it is
        self.cache_path = path_in(memory)
        return 0

    # ---- words

    cdef uint64_t epoch_now(self) noexcept nogil:
        return __atomic_load_n(word(self.page, EPOCH_AT), __ATOMIC_ACQUIRE)

    cdef uint64_t generation_now(self) noexcept nogil:
        return __atomic_load_n(word(self.page, GENERATION_AT), __ATOMIC_ACQUIRE)

    cdef bint is_suspect(self) noexcept nogil:
        return __atomic_load_n(word(self.page, SUSPECT_AT), __ATOMIC_ACQUIRE) != 0

    cdef void set_suspect(self, bint suspect) noexcept nogil:
        if suspect:
            __atomic_fetch_or(word(self.page, SUSPECT_AT), SUSPECT, __ATOMIC_RELEASE)
        else:
            __atomic_store_n(word(self.page, SUSPECT_AT), 0, __ATOMIC_RELEASE)

    cdef uint64_t tally_now(self) noexcept nogil:
        return __atomic_load_n(word(self.page, TALLY_AT), __ATOMIC_ACQUIRE)

    @property
    def epoch(self):
        """The counter of the last change."""
        return self.epoch_now()

    @property
    def generation(self):
        """The number of the LMDB environment; it grows when another one replaces it."""
        return self.generation_now()

    def advance_generation(self):
        """Announce another LMDB environment in the directory; return its number."""
        return __atomic_add_fetch(word(self.page, GENERATION_AT), 1, __ATOMIC_ACQ_REL)

    @property
    def origin(self):
        """The fingerprint of the upstreams whose answers count now; 0: no worker has set it."""
        return __atomic_load_n(word(self.page, ORIGIN_AT), __ATOMIC_RELAXED)

    @origin.setter
    def origin(self, uint64_t origin):
        __atomic_store_n(word(self.page, ORIGIN_AT), origin, __ATOMIC_RELAXED)

    @property
    def suspect(self):
        """True after a process has found the LMDB environment damaged."""
        return self.is_suspect()

    @suspect.setter
    def suspect(self, bint suspect):
        self.set_suspect(suspect)

    @property
    def condemned(self):
        """True after a process hung in the LMDB environment: it is replaced, whatever an examination finds."""
        return __atomic_load_n(word(self.page, SUSPECT_AT), __ATOMIC_ACQUIRE) & CONDEMNED != 0

    def condemn(self):
        """Have the LMDB environment replaced; no process reads it until then."""
        __atomic_fetch_or(word(self.page, SUSPECT_AT), SUSPECT | CONDEMNED, __ATOMIC_RELEASE)

    @property
    def tally(self):
        """How often hit counts were asked for."""
        return self.tally_now()

    def ask_tally(self):
        """Ask workers for their hit counts; return the number of the request."""
        return __atomic_add_fetch(word(self.page, TALLY_AT), 1, __ATOMIC_ACQ_REL)

    # ---- changes

    cdef Change* slot_of(self, uint64_t counter) noexcept nogil:
        return <Change*>(self.page + SLOTS_AT + <size_t>(counter % CHANGES_KEPT) * SLOT_OCTETS)

    cdef int read_change(self, uint64_t counter, Change* out) noexcept nogil:
        cdef Change* slot = self.slot_of(counter)
        if counter == 0 or __atomic_load_n(&slot.counter, __ATOMIC_ACQUIRE) != counter:
            return -1
        memcpy(out, slot, sizeof(Change))
        __atomic_thread_fence(__ATOMIC_ACQUIRE)
        if __atomic_load_n(&slot.counter, __ATOMIC_RELAXED) != counter:
            return -1
        return 0 if change_is_sound(out) else -1

    cdef void write_change(self, Change* change) noexcept nogil:
        """Write a change into its slot, which says 0 meanwhile; then publish it."""
        cdef Change* slot = self.slot_of(change.counter)
        cdef size_t fields = <size_t>(<uint8_t*>&change.kind - <uint8_t*>change)
        __atomic_store_n(&slot.counter, 0, __ATOMIC_RELAXED)
        __atomic_thread_fence(__ATOMIC_RELEASE)
        memcpy(<uint8_t*>slot + fields, <uint8_t*>change + fields, sizeof(Change) - fields)
        __atomic_store_n(&slot.counter, change.counter, __ATOMIC_RELEASE)
        __atomic_store_n(word(self.page, EPOCH_AT), change.counter, __ATOMIC_RELEASE)

    cdef bint claim_refresh(self, uint64_t counter) noexcept nogil:
        cdef uint64_t claimed = __atomic_load_n(word(self.page, REFRESHED_AT), __ATOMIC_ACQUIRE)
        while claimed < counter:
            if __atomic_compare_exchange_n(
                word(self.page, REFRESHED_AT), &claimed, counter, False, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE
            ):
                return True
        return False

    def post(self, int kind, bytes name=b"", uint16_t qtype=0, uint16_t variants=0):
        """Announce a change; return its counter. The caller holds the writer lock.

        A refresh names its variants: 1 << flags for each of the keys' flags. ValueError: no such kind, or a name that
        is not in wire form and lower case.
        """
        cdef Change change
        make_change(&change, kind, name, qtype)
        change.variants = variants
        change.counter = self.epoch_now() + 1
        self.write_change(&change)
        return change.counter

    def since(self, uint64_t epoch):
        """Return the changes after that epoch as (kind, qtype, name, counter), oldest first.

        None: there were too many to be all here, or this page has not reached that epoch. Everything may have changed.
        """
        cdef uint64_t now = self.epoch_now()
        cdef Change change
        cdef list changes = []
        if epoch > now or now - epoch > CHANGES_KEPT:
            return None
        while epoch < now:
            epoch += 1
            if self.read_change(epoch, &change) < 0:
                return None
            changes.append((change.kind, change.qtype, (<char*>change.name)[:change.name_length], change.counter))
        return changes


cdef int make_change(Change* out, int kind, bytes name, uint16_t qtype) except -1:
    memset(out, 0, sizeof(Change))
    if not CHANGE_NAME <= kind <= CHANGE_REFRESH or name is None or len(name) > NAME_MAX:
        raise ValueError("not a change: its kind or its name")
    out.kind = <uint16_t>kind
    out.qtype = qtype
    out.name_length = <uint16_t>len(name)
    memcpy(out.name, <const char*>name, len(name))
    if not change_is_sound(out):
        raise ValueError("not a change: the name is not in wire form and lower case")
    return 0


def change_covers(int kind, uint16_t qtype, bytes name not None, bytes key not None):
    """Return True when that change invalidates the answer of a cache key (ValueError: not a change, not a key)."""
    cdef Change change
    make_change(&change, kind, name, qtype)
    if not key_is_sound(key, len(key)):
        raise ValueError("not the key of an answer")
    return change_matches(&change, key, <uint16_t>len(key))
