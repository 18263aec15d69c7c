/* After the command "do hoard" a thread writes files without end into the folder in its config; the plugin still answers events. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>

#include "base.h"

static char folder[4000];

static void *hoard(void *nothing) {
    static char block[32 << 10];
    char path[4096];
    for (long number = 0;; number++) {
        snprintf(path, sizeof path, "%s/%ld", folder, number);
        int file = open(path, O_WRONLY | O_CREAT, 0600);
        if (file >= 0 && write(file, block, sizeof block) < 0) usleep(1000);
        close(file);
    }
    return nothing;
}

static void *create(const hark_host *host, const char *config, size_t length) {
    const char *start = memchr(config, '/', length), *end = start ? memchr(start, '"', length - (size_t)(start - config)) : NULL;
    if (end == NULL) return complain(host, "no path"), NULL;
    memcpy(folder, start, (size_t)(end - start));
    return folder;
}

ON_EVENT {
    pthread_t thread;
    UNUSED;
    if (says(body, length, "do hoard")) pthread_create(&thread, NULL, hoard, NULL);
    return emit(host, "plugin", "{\"greeting\": \"hello\"}");
}

PLUGIN(HARK_WANTS_FINALS, 0, create, on_event);
