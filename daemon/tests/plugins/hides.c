/* A transform that takes every text out: of partials, segments and finals of up to forty segments. */
#include <stdio.h>

#include "base.h"

ON_EVENT {
    static char json[8192];
    size_t used = (size_t)snprintf(json, sizeof json, "{\"text\": \"hidden\", \"segments\": [");
    const char *at = body, *end = body + length, *next;
    int count = 0;
    UNUSED;
    while ((next = memmem(at, (size_t)(end - at), "\"timing\":", 9)) != NULL) {
        used += (size_t)snprintf(json + used, sizeof json - used, "%s\"hidden\"", count++ == 0 ? "" : ", ");
        at = next + 9;
    }
    snprintf(json + used, sizeof json - used, "]}");
    return host->replace(host->user, json, strlen(json));
}

PLUGIN(HARK_WANTS_FINALS | HARK_WANTS_PARTIALS | HARK_WANTS_SEGMENTS, HARK_TRANSFORM, make, on_event);
