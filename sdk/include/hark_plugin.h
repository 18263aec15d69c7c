/*
 * hark_plugin.h: the whole contract between Hark and a plugin. Version 1.0.
 *
 * A plugin is a shared library that exports one symbol, the constant `hark_plugin` below. The daemon runs every plugin in a child
 * process of its own and opens the library there.
 *
 * Data     Events and configuration are UTF-8 JSON, given as pointer and length; never NUL-terminated. The bodies are those of the
 *          README ("Events out") and sdk/schemas. Ignore fields and kinds you do not know: new ones are added without a new version.
 * Memory   Every pointer is borrowed for the length of the call and not a moment longer, in both directions. The host copies what it
 *          is given. Neither side ever frees what the other allocated.
 * Threads  Calls never overlap and stay in order within a job; which thread makes them is not promised. A plugin may start threads.
 *          They must not touch `hark_host`: it belongs to the call, and to the thread that makes it.
 * Time     One event has `timeout` (2 s unless configured). Over it the process is killed, another takes over, and the event is
 *          reported as failed. Three deaths in ten minutes and the plugin is quarantined; transcripts flow on without it.
 * Trust    The process may use `memory_limit` of memory, and as much for each file; it may write below $STATE/plugins/<name> and the folders of `write`. It may
 *          not start processes, nor open connections unless `network = true`; it sees no credentials, no audio and no environment. Its
 *          working directory is /, its stdout and stderr lead nowhere. The library and its folder must belong to root or the
 *          daemon's user and be writable by nobody else.
 * Install  Put a new version beside the old one and rename it over; it takes over between two events.
 */
#ifndef HARK_PLUGIN_H
#define HARK_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HARK_MAGIC 0x4b524148u /* "HARK" in memory, on a little-endian machine */
#define HARK_MAJOR 1u          /* another major is refused */
#define HARK_MINOR 0u          /* a minor only adds fields at the end; `size` says which are there */

/* What a call comes to. Before ERROR or FAILED, say why in one line with host->log(HARK_LOG_ERROR): it becomes the event's `error`. */
#define HARK_OK 0     /* done; what was emitted counts */
#define HARK_ERROR 1  /* not this event; what was emitted for it is dropped, the next event comes as usual */
#define HARK_FAILED 2 /* no more calls: this instance is beyond repair, and its process is replaced */

/* Levels of host->log. */
#define HARK_LOG_ERROR 1
#define HARK_LOG_WARN 2
#define HARK_LOG_INFO 3
#define HARK_LOG_DEBUG 4
#define HARK_LOG_TRACE 5

/* Which events on_event is called with: hark_plugin.wants. */
#define HARK_WANTS_FINALS 1u      /* transcript.final */
#define HARK_WANTS_PARTIALS 2u    /* transcript.partial; some are left out when the plugin is behind, and what it says is not published yet */
#define HARK_WANTS_JOBS 4u        /* job.*: reserved, no plugin is called with them yet; `harkd check` warns */
#define HARK_WANTS_ANNOTATIONS 8u /* annotation.*: reserved likewise */

/* What the plugin is: hark_plugin.flags. */
#define HARK_TRANSFORM 1u /* it replaces text, and so runs before anything of the transcript leaves the daemon */

/*
 * What the host does for a plugin. Owner: the host. Valid during the call that it was handed to, on that call's thread.
 * The functions return HARK_OK, or HARK_ERROR where the host refused (it keeps why, for the log and the event).
 */
typedef struct hark_host {
    uint32_t size;  /* of this struct in bytes; a later minor adds functions at the end */
    uint32_t minor; /* of the host */
    void *user;     /* pass it as the first argument */

    /*
     * Publishes an event of this event's job, after it and in the order of the calls. Of what is said about a partial nothing is
     * published yet.
     * kind     "alert.raised", "alert.retracted": json is an object with alert, rule, severity ("info", "warning", "critical"), state
     *          ("tentative", "confirmed"), quote, and where known channel, role, begin_ms, end_ms. `plugin` is filled in.
     *          "plugin": json is anything; it is published as plugin.<name>, in `data`.
     * When     during on_event.
     * Failure  HARK_ERROR for another kind, JSON that does not fit or is nested deeper than 64 levels, more than 1 MiB, or more than 256
     *          events for one, 8 MiB or 65,536 JSON values in all of them.
     */
    int32_t (*emit)(void *user, const char *kind, size_t kind_length, const char *json, size_t json_length);

    /*
     * Says something about the transcript.
     * name     "language" or "emotion": json is an object with channel, value, and where known role, begin_ms, end_ms.
     *          Any other [a-z0-9_-]+: json is anything; it is published as plugin.<name>, with `data` {"<name>": json}.
     * When     during on_event.
     * Failure  as emit, with which it shares the limits.
     */
    int32_t (*annotate)(void *user, const char *name, size_t name_length, const char *json, size_t json_length);

    /*
     * Replaces the text of the final that on_event was called with: {"text": "…", "segments": ["…", …]}, one text for each segment.
     * A final of one segment needs no `segments`: it gets `text`. The last call counts. Times, roles and the rest stay.
     * When     during on_event with a transcript.final, in a plugin with HARK_TRANSFORM.
     * Failure  HARK_ERROR elsewhere, for JSON that does not fit, and for another number of segments. Then return HARK_ERROR
     *          yourself: what happens to the transcript is `on_failure` (skip or hold) in the daemon's configuration.
     */
    int32_t (*replace)(void *user, const char *json, size_t json_length);

    /*
     * Writes a line to the daemon's log. Beyond 1 KiB a line is cut, beyond some tens a second lines are dropped and counted.
     * Never put the text of a transcript into it above HARK_LOG_TRACE: logs are read by more people than transcripts.
     * When     during any call.
     * Failure  none.
     */
    void (*log)(void *user, int32_t level, const char *text, size_t length);
} hark_host;

/* What a plugin is. Owner: the plugin, for ever; the library is never unloaded. */
struct hark_plugin {
    /* These four are frozen for ever. */
    uint32_t magic; /* HARK_MAGIC */
    uint32_t size;  /* sizeof(struct hark_plugin) as the plugin was compiled */
    uint32_t major; /* HARK_MAJOR */
    uint32_t minor; /* HARK_MINOR */

    uint32_t wants;      /* HARK_WANTS_…, or-ed */
    uint32_t flags;      /* HARK_TRANSFORM or 0 */
    const char *version; /* the plugin's own, NUL-terminated, for `harkd plugins list`; may be NULL */

    /*
     * Makes the one instance of this process from [plugin.config] as a JSON object ("{}" when there is none).
     * When     once, before any event.
     * Owner    the instance is the plugin's; the host only hands it back.
     * Failure  NULL, after one line of log at HARK_LOG_ERROR that names the key at fault and what to do. The plugin then counts as
     *          failed, and is tried again when its library changes and from time to time.
     */
    void *(*create)(const hark_host *host, const char *config, size_t config_length);

    /*
     * Looks at one event. `kind` is "transcript.final" and so on, `body` the event's JSON body.
     * When     after create, for each final and partial in `wants` (no other kind yet); not again after HARK_FAILED. An event during which a process died
     *          may come a second time, to the next process.
     * Failure  HARK_ERROR or HARK_FAILED, see there.
     */
    int32_t (*on_event)(void *self, const hark_host *host, const char *kind, size_t kind_length, const char *body,
                        size_t body_length);

    /*
     * Lets go of the instance.
     * When     once, last, when the process ends in good order; not after HARK_FAILED, and not when the process is killed, so nothing
     *          may depend on it.
     */
    void (*destroy)(void *self, const hark_host *host);
};

#if defined(__GNUC__)
#define HARK_EXPORT __attribute__((visibility("default")))
#else
#define HARK_EXPORT
#endif

/* The one symbol. Define it in one file: `const struct hark_plugin hark_plugin = { HARK_MAGIC, sizeof hark_plugin, … };` */
extern HARK_EXPORT const struct hark_plugin hark_plugin;

#ifdef __cplusplus
}
#endif

#endif
