/* Refuses its config in create. */
#include "base.h"

static void *create(const hark_host *host, const char *config, size_t length) {
    (void)config, (void)length;
    complain(host, "key \"model\" is missing; name a file");
    return NULL;
}

ON_EVENT { UNUSED; return HARK_OK; }

PLUGIN(HARK_WANTS_FINALS, 0, create, on_event);
