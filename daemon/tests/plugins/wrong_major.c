/* Built for an ABI version that this daemon does not support. */
#include "base.h"

ON_EVENT { UNUSED; return HARK_OK; }

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR + 6, 0, HARK_WANTS_FINALS, 0, "7.0.0", make, on_event, unmake, NULL};
