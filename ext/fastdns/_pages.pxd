"""Pages of files that this process has mapped and needs no more: returned to the kernel.

They stay in the page cache, where the next access finds them at once. But they no longer count as this process's, and
are freed first if memory is short.
"""

cdef void release_file(int descriptor) noexcept nogil
# ^ all of an open file that this process shares with others, as LMDB's
