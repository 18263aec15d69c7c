/* Shared by the test plugins: a create, a destroy, and a search for a word in the body. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hark_plugin.h"

static inline void *make(const hark_host *host, const char *config, size_t length) {
    static char instance;
    (void)host, (void)config, (void)length;
    return &instance;
}

static inline void unmake(void *self, const hark_host *host) {
    (void)self, (void)host;
}

static inline int says(const char *body, size_t length, const char *word) {
    return memmem(body, length, word, strlen(word)) != NULL;
}

static inline int32_t emit(const hark_host *host, const char *kind, const char *json) {
    return host->emit(host->user, kind, strlen(kind), json, strlen(json));
}

static inline void complain(const hark_host *host, const char *line) {
    host->log(host->user, HARK_LOG_ERROR, line, strlen(line));
}

#define PLUGIN(wants, flags, create, on_event) \
    const struct hark_plugin hark_plugin = {   \
        HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, wants, flags, "1.0.0", create, on_event, unmake, NULL}

#define ON_EVENT                                                                                                      \
    static int32_t on_event(void *self, const hark_host *host, const char *kind, size_t kind_length, const char *body, \
                            size_t length)
#define UNUSED (void)self, (void)host, (void)kind, (void)kind_length, (void)body, (void)length
