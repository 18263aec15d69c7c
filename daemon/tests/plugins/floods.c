/* Logs without end: through `log`, by frames written straight into the daemon's socket, or in a thread between events. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "base.h"

static const hark_host *listener;
static volatile int lines;

static void *talk(void *unused) {
    (void)unused;
    for (;; lines++) complain(listener, "and another thing");
    return NULL;
}

static void flood(void) {
    static const char said[] = "{\"log\":{\"level\":1,\"line\":\"and another thing\"}}";
    static char frames[64 << 10];
    const uint32_t length = sizeof said - 1;
    size_t filled = 0;
    for (; filled + 4 + length <= sizeof frames; filled += 4 + length) {
        memcpy(frames + filled, &length, 4);
        memcpy(frames + filled + 4, said, length);
    }
    for (;;) {
        ssize_t written = 0;
        for (size_t sent = 0; sent < filled; sent += (size_t)written)
            if ((written = write(100, frames + sent, filled - sent)) <= 0) return;
    }
}

ON_EVENT {
    UNUSED;
    if (says(body, length, "do chatter")) listener = host, talk(NULL);
    if (says(body, length, "do flood")) flood();
    if (says(body, length, "do start talking")) {
        pthread_t thread;
        listener = host;
        if (pthread_create(&thread, NULL, talk, NULL) != 0) return HARK_ERROR;
    }
    char json[64];
    snprintf(json, sizeof json, "{\"greeting\": \"hello\", \"lines\": %d}", lines);
    return emit(host, "plugin", json);
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
