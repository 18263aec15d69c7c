/* Starts a thread, which is permitted, and waits for it. */
#include <pthread.h>

#include "base.h"

static void *work(void *argument) {
    return argument;
}

ON_EVENT {
    pthread_t thread;
    char token;
    void *result = NULL;
    UNUSED;
    if (pthread_create(&thread, NULL, work, &token) != 0) return HARK_ERROR;
    pthread_join(thread, &result);
    return emit(host, "plugin", result == &token ? "{\"thread\": \"done\"}" : "{}");
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
