/* Declares a descriptor size smaller than that of version 1.0. */
#include "base.h"

const struct hark_plugin hark_plugin = {HARK_MAGIC, 24, HARK_MAJOR, HARK_MINOR, 0, 0, NULL, make, NULL, unmake, NULL};
