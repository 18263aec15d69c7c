/* A transform: every text becomes SHOUTED. Forgets the segments when it is told to. */
#include "base.h"

ON_EVENT {
    static const char whole[] = "{\"text\": \"SHOUTED\", \"segments\": [\"SHOUTED\"]}", half[] = "{\"text\": \"SHOUTED\", \"segments\": []}";
    const char *json = says(body, length, "forget") ? half : whole;
    UNUSED;
    host->replace(host->user, json, strlen(json));
    return HARK_OK;
}

PLUGIN(HARK_WANTS_FINALS, HARK_TRANSFORM, make, on_event);
