/* Opens a file in `create`, to "read" or to "write" as its config says, and writes "the end" into it in `destroy`. */
#include <fcntl.h>
#include <stdio.h>

#include "base.h"

static int file;

static void *create(const hark_host *host, const char *config, size_t length) {
    static char path[4096];
    const char *start = memchr(config, '/', length), *end = start ? memchr(start, '"', length - (size_t)(start - config)) : NULL;
    if (end == NULL) return complain(host, "no path"), NULL;
    memcpy(path, start, (size_t)(end - start));
    file = open(path, says(config, length, "read") ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0) return complain(host, "it cannot be opened"), NULL;
    return path;
}

ON_EVENT {
    UNUSED;
    return HARK_OK;
}

static void destroy(void *self, const hark_host *host) {
    (void)self;
    if (write(file, "the end\n", 8) != 8) complain(host, "the end could not be written");
}

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, "1.0.0", create, on_event, destroy, NULL};
