"""Memory that this process needs no more, of files that it has mapped and of its heap: returned to the kernel."""

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/stat.h>

    static void fastdns_release_file(int descriptor)
    {
        struct stat found;
        unsigned long start, end;
        unsigned long long inode;   /* on a 32-bit machine, too */
        char shared;
        char line[512];
        FILE* maps;
        if (fstat(descriptor, &found) != 0 || (maps = fopen("/proc/self/maps", "re")) == NULL)
            return;
        while (fgets(line, sizeof(line), maps) != NULL)
            if (sscanf(line, "%lx-%lx %*c%*c%*c%c %*s %*s %llu", &start, &end, &shared, &inode) == 4
                    && shared == 's' && inode == found.st_ino)
                (void)madvise((void*)start, end - start, MADV_DONTNEED);
        (void)fclose(maps);
    }

    static void fastdns_nothing(void) {}

    /* Only of mappings in which no page is this process's own: such a page would be lost. Those whose addresses are
       not this process's are nobody's to release: an emulator (qemu-user) shows the file as its own process sees
       it, some pages beside. Where this module begins is therefore to be the beginning of a mapping, of
       its file. */
    static void fastdns_release_code(void)
    {
        unsigned long start, end, kib;
        unsigned long from = 0, to = 0;
        unsigned long long inode;
        struct { unsigned long from, to; } found[1024];
        size_t count = 0, at;
        int is_ours = 0;
        Dl_info module;
        const char* name;
        char writes, shared;
        char line[512];
        FILE* maps;
        if (dladdr((void*)fastdns_nothing, &module) == 0 || (name = strrchr(module.dli_fname, '/')) == NULL
                || (maps = fopen("/proc/self/smaps", "re")) == NULL)
            return;
        while (count < sizeof(found) / sizeof(found[0]) && fgets(line, sizeof(line), maps) != NULL) {
            if (sscanf(line, "%lx-%lx %*c%c%*c%c %*s %*s %llu", &start, &end, &writes, &shared, &inode) == 5) {
                from = to = 0;
                is_ours |= start == (unsigned long)module.dli_fbase && strstr(line, name) != NULL;
                if (writes == '-' && shared == 'p' && inode != 0) {
                    from = start;
                    to = end;
                }
            } else if (from < to && sscanf(line, "Anonymous: %lu kB", &kib) == 1 && kib == 0) {
                found[count].from = from;
                found[count++].to = to;
                from = to = 0;
            }
        }
        (void)fclose(maps);
        for (at = 0; is_ours && at < count; at++)
            (void)madvise((void*)found[at].from, found[at].to - found[at].from, MADV_DONTNEED);
    }
    """
    void fastdns_release_file(int descriptor) nogil
    void fastdns_release_code() nogil


cdef void release_file(int descriptor) noexcept nogil:
    fastdns_release_file(descriptor)


def release_code():
    """Release the code and constants of libraries: most of what a start has read is never read again."""
    fastdns_release_code()


def release_heap():
    """Release what was freed: after large blocks the allocator keeps tens of MiB. Other threads go on meanwhile."""
    with nogil:
        malloc_trim(0)
