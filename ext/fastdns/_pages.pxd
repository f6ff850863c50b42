"""Pages of files that this process has mapped, and needs no more: the kernel gets them back.

They stay in the page cache, where the next look at one finds it at once. But they count no more as this process's, and
go first when memory is short.
"""

cdef void release_file(int descriptor) noexcept nogil
# ^ all of an open file that this process shares with others, as LMDB's
