"""Pages of files that this process has mapped, and needs no more: the kernel gets them back."""

cdef extern from *:
    """
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/stat.h>

    static void fastdns_release_file(int descriptor)
    {
        struct stat found;
        unsigned long start, end, inode;
        char shared;
        char line[512];
        FILE* maps;
        if (fstat(descriptor, &found) != 0 || (maps = fopen("/proc/self/maps", "re")) == NULL)
            return;
        while (fgets(line, sizeof(line), maps) != NULL)
            if (sscanf(line, "%lx-%lx %*c%*c%*c%c %*s %*s %lu", &start, &end, &shared, &inode) == 4
                    && shared == 's' && inode == found.st_ino)
                (void)madvise((void*)start, end - start, MADV_DONTNEED);
        (void)fclose(maps);
    }

    /* Only of mappings in which no page is this process's own: such a page would be lost. */
    static void fastdns_release_code(void)
    {
        unsigned long start, end, inode, kib;
        unsigned long from = 0, to = 0;
        char writes, shared;
        char line[512];
        FILE* maps = fopen("/proc/self/smaps", "re");
        if (maps == NULL)
            return;
        while (fgets(line, sizeof(line), maps) != NULL) {
            if (sscanf(line, "%lx-%lx %*c%c%*c%c %*s %*s %lu", &start, &end, &writes, &shared, &inode) == 5) {
                from = to = 0;
                if (writes == '-' && shared == 'p' && inode != 0) {
                    from = start;
                    to = end;
                }
            } else if (from < to && sscanf(line, "Anonymous: %lu kB", &kib) == 1 && kib == 0) {
                (void)madvise((void*)from, to - from, MADV_DONTNEED);
                from = to = 0;
            }
        }
        (void)fclose(maps);
    }
    """
    void fastdns_release_file(int descriptor) nogil
    void fastdns_release_code() nogil


cdef void release_file(int descriptor) noexcept nogil:
    fastdns_release_file(descriptor)


def release_code():
    """Let go of the code and constants of libraries: most of what a start has read, nothing reads again."""
    fastdns_release_code()
