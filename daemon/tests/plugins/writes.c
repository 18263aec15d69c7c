/* Writes a file at the path in its config, also a large one, and reads one. */
#include <fcntl.h>
#include <stdio.h>

#include "base.h"

static char path[4096];

static void *create(const hark_host *host, const char *config, size_t length) {
    const char *start = memchr(config, '/', length), *end = start ? memchr(start, '"', length - (size_t)(start - config)) : NULL;
    if (end == NULL) return complain(host, "no path"), NULL;
    memcpy(path, start, (size_t)(end - start));
    return path;
}

ON_EVENT {
    char json[64];
    UNUSED;
    if (says(body, length, "do fill")) {
        static char block[1 << 20];
        int file = open(path, O_WRONLY | O_CREAT, 0600);
        for (int i = 0; i < 64; i++)
            if (write(file, block, sizeof block) < 0) break;
    }
    int opened = open(path, says(body, length, "do read") ? O_RDONLY : O_WRONLY | O_CREAT, 0600);
    snprintf(json, sizeof json, "{\"opened\": %s}", opened >= 0 ? "true" : "false");
    return emit(host, "plugin", json);
}

PLUGIN(HARK_WANTS_FINALS, 0, create, on_event);
