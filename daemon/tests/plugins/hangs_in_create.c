/* Never returns from create. */
#include "base.h"

static void *create(const hark_host *host, const char *config, size_t length) {
    (void)host, (void)config, (void)length;
    for (;;) sleep(60);
    return NULL;
}

ON_EVENT {
    UNUSED;
    return HARK_OK;
}

PLUGIN(HARK_WANTS_FINALS, 0, create, on_event);
