/* Built for version 1.0 of the ABI: its table ends before the fields of later versions, and what follows is no function. */
#include <stddef.h>

#include "base.h"

ON_EVENT {
    UNUSED;
    return emit(host, "plugin", "{}");
}

const struct hark_plugin hark_plugin = {HARK_MAGIC, offsetof(struct hark_plugin, schema), HARK_MAJOR, 0, HARK_WANTS_FINALS, 0,
                                        "1.0.0", make, on_event, unmake, (const char *(*)(void))8};
