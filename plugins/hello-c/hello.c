/* Annotates every transcript with a greeting, in C: cc -shared -fPIC -Isdk/include -o libhello_c.so plugins/hello-c/hello.c */
#include <string.h>

#include "hark_plugin.h"

static char greeting[] = "this plugin has no state, but an instance is never NULL";

static void *create(const hark_host *host, const char *config, size_t length) {
    (void)host, (void)config, (void)length;
    return greeting;
}

static int32_t on_event(void *self, const hark_host *host, const char *kind, size_t kind_length, const char *body,
                        size_t body_length) {
    static const char name[] = "greeting", value[] = "\"hello from C\"";
    (void)self, (void)kind, (void)kind_length, (void)body, (void)body_length;
    return host->annotate(host->user, name, strlen(name), value, strlen(value));
}

static void destroy(void *self, const hark_host *host) {
    (void)self, (void)host;
}

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, "1.0.0", create, on_event, destroy, NULL,
};
