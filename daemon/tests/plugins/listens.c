/* Receives every kind of event, and emits the kind and a running count. */
#include <stdio.h>

#include "base.h"

ON_EVENT {
    static int count;
    char json[128];
    UNUSED;
    snprintf(json, sizeof json, "{\"heard\": \"%.*s\", \"count\": %d, \"version\": %d}", (int)kind_length, kind, ++count, VERSION);
    return emit(host, "plugin", json);
}

PLUGIN(HARK_WANTS_FINALS | HARK_WANTS_PARTIALS | HARK_WANTS_JOBS, 0, make, on_event);
