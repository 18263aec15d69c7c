/* Raises an alert for what it hears: tentative for a partial, confirmed for a segment or the final. Each piece has an alert of its own. */
#include <stdio.h>

#include "base.h"

ON_EVENT {
    char json[256];
    const char *piece = memmem(body, length, "\"piece\":", 8);
    int number = piece == NULL ? 0 : atoi(piece + 8);
    int is_partial = memmem(kind, kind_length, "partial", 7) != NULL;
    UNUSED;
    if (memmem(kind, kind_length, "final", 5) != NULL && says(body, length, "\"begin_ms\":20000")) {
        number = 1; /* of a recording in pieces: what its first segment told */
    }
    snprintf(json, sizeof json,
             "{\"alert\": \"%d\", \"rule\": \"any\", \"severity\": \"warning\", \"state\": \"%s\", \"quote\": \"canary\"}", number,
             is_partial ? "tentative" : "confirmed");
    return emit(host, "alert.raised", json);
}

PLUGIN(HARK_WANTS_FINALS | HARK_WANTS_PARTIALS | HARK_WANTS_SEGMENTS, 0, make, on_event);
