/* Version 1 emits a kind that it may not, with words of the transcript in it, and fails without a message; version 2 aborts; version 3
   does nothing. */
#include "base.h"

ON_EVENT {
    UNUSED;
    if (VERSION == 2) abort();
    if (VERSION == 3) return HARK_OK;
    emit(host, "card of Mr Canary", "1");
    return HARK_ERROR;
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
