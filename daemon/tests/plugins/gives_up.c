/* Version 1 says what it may not, words of the transcript among it, and gives up without a word; version 2 dies; version 3 is content. */
#include "base.h"

ON_EVENT {
    UNUSED;
    if (VERSION == 2) abort();
    if (VERSION == 3) return HARK_OK;
    emit(host, "card of Mr Canary", "1");
    return HARK_ERROR;
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
