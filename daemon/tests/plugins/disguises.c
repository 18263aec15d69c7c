/* Puts terminal escapes, line breaks and bidirectional overrides into all its output. */
#include "base.h"

#define DISGUISE "\x1b]0;owned\x07\nharkd: all is well \xc2\x9b\x32J \xe2\x80\xae gnaw \xe2\x81\xa6\xe2\x80\x8b\xe2\x80\xa8"

ON_EVENT {
    UNUSED;
    complain(host, DISGUISE);
    if (says(body, length, "error")) return HARK_ERROR;
    return emit(host, "plugin", "{\"said\": \"\\u001b[2J\\u202e\"}");
}

const struct hark_plugin hark_plugin = {HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, DISGUISE,
                                        make, on_event, unmake, NULL};
