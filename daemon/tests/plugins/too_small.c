/* Says that it is smaller than version 1.0 is. */
#include "base.h"

const struct hark_plugin hark_plugin = {HARK_MAGIC, 24, HARK_MAJOR, HARK_MINOR, 0, 0, NULL, make, NULL, unmake};
