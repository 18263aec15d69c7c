/*
 * Counts how often a word comes in a transcript: a plugin to begin with. hark_plugin.h, beside this file, is the whole contract.
 *
 * Bodies are JSON. The function `member` below reads one text of the outermost object, which is enough here; for more take a JSON library.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hark_plugin.h"

struct counter {
    char word[64];
    size_t length;
};

static int lower(int c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int is_letter(int c) {
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
}

/* `at` is behind the opening quotation mark of a text. Returns the place of the closing one, or `end` if there is none. */
static const char *end_of_text(const char *at, const char *end) {
    while (at < end && *at != '"') at += *at == '\\' && at + 1 < end ? 2 : 1;
    return at;
}

/* The text of a member of the outermost object, with its escapes as they are; NULL if there is none. */
static const char *member(const char *json, size_t length, const char *name, size_t *text_length) {
    const char *at = json, *end = json + length;
    size_t name_length = strlen(name);
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '{' || *at == '[') depth++;
        if (*at == '}' || *at == ']') depth--;
        if (*at != '"') continue;
        const char *key = at + 1;
        at = end_of_text(key, end);
        if (depth != 1 || (size_t)(at - key) != name_length || memcmp(key, name, name_length) != 0) continue;
        const char *colon = at + 1;
        while (colon < end && (*colon == ' ' || *colon == '\n' || *colon == '\r' || *colon == '\t')) colon++;
        if (colon >= end || *colon != ':') continue;
        const char *value = colon + 1;
        while (value < end && (*value == ' ' || *value == '\n' || *value == '\r' || *value == '\t')) value++;
        if (value >= end || *value != '"') return NULL;
        const char *behind = end_of_text(value + 1, end);
        if (behind >= end) return NULL;
        *text_length = (size_t)(behind - value - 1);
        return value + 1;
    }
    return NULL;
}

static void complain(const hark_host *host, const char *line) {
    host->log(host->user, HARK_LOG_ERROR, line, strlen(line));
}

/* What [plugin.config] may hold: `harkd check` finds every mistake and its line. */
static const char *schema(void) {
    return "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
           "\"word\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 63, \"pattern\": \"^[A-Za-z0-9]+$\"}}}";
}

static void *create(const hark_host *host, const char *config, size_t config_length) {
    size_t i, length = 5;
    const char *word = member(config, config_length, "word", &length);
    struct counter *counter = calloc(1, sizeof *counter);
    if (word == NULL) word = "hello";
    if (counter == NULL || length >= sizeof counter->word) {
        complain(host, "word: is too long, or there is no memory");
        free(counter);
        return NULL;
    }
    for (i = 0; i < length; i++) counter->word[i] = (char)lower((unsigned char)word[i]);
    counter->length = length;
    return counter;
}

static int32_t on_event(void *self, const hark_host *host, const char *kind, size_t kind_length, const char *body,
                        size_t body_length) {
    static const char final[] = "transcript.final", name[] = "count";
    const struct counter *counter = self;
    unsigned long count = 0;
    size_t at = 0, same, length;
    char json[32];
    const char *text;
    /* A newer daemon may send other kinds. */
    if (kind_length != strlen(final) || memcmp(kind, final, kind_length) != 0) return HARK_OK;
    text = member(body, body_length, "text", &length);
    if (text == NULL) {
        complain(host, "the transcript has no text");
        return HARK_ERROR;
    }
    while (at < length) {
        size_t begin = at;
        while (at < length && is_letter((unsigned char)text[at])) at++;
        if (at - begin == counter->length) {
            for (same = 0; same < counter->length; same++)
                if (lower((unsigned char)text[begin + same]) != counter->word[same]) break;
            count += same == counter->length;
        }
        /* An escape such as \n is no word. */
        at += at < length && text[at] == '\\' ? 2 : 1;
    }
    snprintf(json, sizeof json, "%lu", count);
    return host->annotate(host->user, name, strlen(name), json, strlen(json));
}

static void destroy(void *self, const hark_host *host) {
    (void)host;
    free(self);
}

const struct hark_plugin hark_plugin = {
    HARK_MAGIC, sizeof hark_plugin, HARK_MAJOR, HARK_MINOR, HARK_WANTS_FINALS, 0, "0.1.0", create, on_event, destroy, schema,
};
