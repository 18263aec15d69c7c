/* Has no on_event. */
#include "base.h"

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, 0, 0, NULL, make, NULL, unmake, NULL,
};
