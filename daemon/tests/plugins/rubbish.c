/* Emits invalid events: the daemon must refuse each. */
#include "base.h"

ON_EVENT {
    UNUSED;
    if (says(body, length, "gigabyte")) {
        size_t size = (size_t)100 << 20;
        char *json = malloc(size);
        if (json == NULL) return HARK_ERROR;
        memset(json, 'x', size);
        json[0] = json[size - 1] = '"';
        for (int i = 0; i < 11; i++)
            if (host->emit(host->user, "plugin", 6, json, size) == HARK_OK) return HARK_FAILED;
        free(json);
        return HARK_OK;
    }
    if (says(body, length, "flood")) {
        int accepted = 0;
        for (int i = 0; i < 30000; i++) accepted += emit(host, "plugin", "1") == HARK_OK;
        return accepted == 20000 ? HARK_OK : HARK_FAILED;
    }
    int refused = 0;
    refused += emit(host, "plugin", "{\"never\": ends") != HARK_OK;
    refused += emit(host, "plugin", "\xff\xfe") != HARK_OK;
    refused += emit(host, "job.completed", "{}") != HARK_OK;
    refused += emit(host, "no.kind", "{}") != HARK_OK;
    refused += emit(host, "plugin.somebody", "{}") != HARK_OK;
    refused += emit(host, "alert.raised", "{\"plugin\": \"somebody\", \"alert\": \"1\"}") != HARK_OK;
    refused += emit(host, "alert.raised", "[1]") != HARK_OK;
    refused += host->emit(host->user, NULL, 5, NULL, 5) != HARK_OK;
    refused += host->replace(host->user, "{\"text\": \"x\"}", 13) != HARK_OK;
    return refused == 9 ? HARK_OK : HARK_FAILED;
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
