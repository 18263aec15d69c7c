/* Links with a library that is not a system library: `needed.c`. */
#include "base.h"

extern const char *needed(void);

ON_EVENT {
    UNUSED;
    return emit(host, "plugin", needed());
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
