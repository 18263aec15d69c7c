/* After the command "do spin" a thread takes a core for ever; the plugin still answers events. */
#include <pthread.h>

#include "base.h"

static void *spin(void *nothing) {
    for (;;) __asm__ volatile("");
    return nothing;
}

ON_EVENT {
    pthread_t thread;
    UNUSED;
    if (says(body, length, "do spin")) pthread_create(&thread, NULL, spin, NULL);
    return emit(host, "plugin", "{\"greeting\": \"hello\"}");
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
