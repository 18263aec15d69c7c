/* Keeps of each event what its config names: memory, descriptors, threads; or takes its time, or refuses kinds that it does not know. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>

#include "base.h"

static char what[32];

static const char *schema(void) {
    return "{\"type\": \"object\", \"properties\": {\"keep\": {\"enum\": [\"memory\", \"descriptors\", \"threads\", \"many descriptors\", \"many threads\", \"time\", \"order\"]}}}";
}

static void *create(const hark_host *host, const char *config, size_t length) {
    (void)host;
    snprintf(what, sizeof what, "%.*s", (int)length, config);
    return what;
}

static void *wait_for_ever(void *unused) {
    for (;;) pause();
    return unused;
}

ON_EVENT {
    pthread_t thread;
    pthread_attr_t attributes;
    void *kept;
    int each = strstr(what, "many") != NULL ? 10 : 1;
    UNUSED;
    if (strstr(what, "memory") != NULL) {
        kept = malloc(1000);
        if (kept != NULL) memset(kept, 1, 1000);
    }
    for (int i = 0; strstr(what, "descriptors") != NULL && i < each; i++) (void)!open("/dev/null", O_RDONLY);
    for (int i = 0; strstr(what, "threads") != NULL && i < each; i++) {
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 65536);
        pthread_create(&thread, &attributes, wait_for_ever, NULL);
    }
    if (strstr(what, "time") != NULL) usleep(60 * 1000);
    if (strstr(what, "order") != NULL && memmem(kind, kind_length, "future", 6) != NULL) return HARK_ERROR;
    return HARK_OK;
}

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, "1.0.0", create, on_event, unmake, schema};
