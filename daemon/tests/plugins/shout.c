/* A transform that puts every text into capitals. On command it leaves out the segments, or makes the text too long. */
#include "base.h"

ON_EVENT {
    static const char whole[] = "{\"text\": \"SHOUTED\", \"segments\": [\"SHOUTED\"]}", half[] = "{\"text\": \"SHOUTED\", \"segments\": []}";
    const char *json = says(body, length, "forget") ? half : whole;
    static char endless[9 << 20];
    UNUSED;
    if (says(body, length, "endless")) {
        host->replace(host->user, memset(endless, 'A', sizeof endless), sizeof endless);
        return HARK_OK;
    }
    host->replace(host->user, json, strlen(json));
    return HARK_OK;
}

PLUGIN(HARK_WANTS_FINALS, HARK_TRANSFORM, make, on_event);
