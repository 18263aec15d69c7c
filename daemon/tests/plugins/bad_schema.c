/* Its schema is none. */
#include "base.h"

static const char *schema(void) {
    return "{\"type\": \"sentence\"}";
}

ON_EVENT {
    UNUSED;
    return HARK_OK;
}

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, "1.0.0", make, on_event, unmake, schema};
