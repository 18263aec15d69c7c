/* Hands files over for each final: one that is written, one that the source would take for a recording, and one whose suffix is none. */
#include "base.h"

static void hand(const hark_host *host, const char *suffix, const char *text) {
    host->file(host->user, suffix, strlen(suffix), text, strlen(text));
}

ON_EVENT {
    UNUSED;
    hand(host, ".txt", "first");
    hand(host, ".txt", "what was said");
    hand(host, ".copy.wav", "RIFF");
    hand(host, "/../../escaped", "out");
    return HARK_OK;
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
