/*
 * hark_plugin.h: the complete contract between Hark and a plugin. Version 1.1.
 *
 * A plugin is a shared library that exports one symbol, the constant `hark_plugin` below. The daemon runs every plugin in a child
 * process of its own and opens the library there.
 *
 * Data     Events and configuration are UTF-8 JSON, given as pointer and length; never NUL-terminated. docs/events.md and sdk/schemas
 *          document the bodies. Ignore fields and kinds you do not know: new ones are added without a new version.
 * Memory   Every pointer is borrowed for the duration of the call only, in both directions. The host copies what it is given. Neither
 *          side ever frees what the other allocated.
 * Threads  Calls never overlap and stay in order within a job; the thread that makes them may change. A plugin may start threads.
 *          They must not use `hark_host`: it belongs to the call, and to the thread that makes it.
 * Time     Each event has `timeout` (2 s unless configured). After that the daemon kills the process, starts another, and reports the
 *          event as failed. The daemon also replaces a process whose threads use a core for longer than that while it has no event.
 *          After three deaths in ten minutes the daemon quarantines the plugin and processes transcripts without it.
 * Trust    The process may use `memory_limit` bytes of memory (reserved addresses do not count), and the same limit holds for each file
 *          and for everything below $STATE/plugins/<name>; it may write there and below the folders of `write`. It may not start
 *          processes, nor open connections unless `network = true`; it has no access to credentials, audio and environment. Its
 *          working directory is /, its stdout and stderr are discarded. The library and its folder must belong to root or the
 *          daemon's user and be writable only by their owner.
 * Install  Write a new version beside the old file and rename it over the old one; it takes over between two events. The loader finds its
 *          dependencies in the plugin's folder and in the system's library folders. The daemon opens the library from memory: $ORIGIN
 *          and dladdr() do not lead to its folder, so name files that the plugin reads in its config, by absolute paths.
 */
#ifndef HARK_PLUGIN_H
#define HARK_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HARK_MAGIC 0x4b524148u /* "HARK" in memory, on a little-endian machine */
#define HARK_MAJOR 1u          /* the daemon refuses any other major version */
#define HARK_MINOR 1u          /* a minor version only adds fields at the end; `size` tells which exist */

/* Results of a call. Before ERROR or FAILED, log the reason in one line with host->log(HARK_LOG_ERROR): it becomes the event's `error`. */
#define HARK_OK 0     /* success; what was emitted is published */
#define HARK_ERROR 1  /* this event failed; what was emitted for it is dropped, the next event comes as usual */
#define HARK_FAILED 2 /* the instance failed: no more calls, the daemon replaces the process */

/* Levels of host->log. */
#define HARK_LOG_ERROR 1
#define HARK_LOG_WARN 2
#define HARK_LOG_INFO 3
#define HARK_LOG_DEBUG 4
#define HARK_LOG_TRACE 5

/* Kinds of events that on_event is called with: hark_plugin.wants. */
#define HARK_WANTS_FINALS 1u      /* transcript.final */
#define HARK_WANTS_PARTIALS 2u    /* transcript.partial; a plugin that is slow gets only the newest one of each piece */
#define HARK_WANTS_JOBS 4u        /* job.*: reserved, no plugin is called with them yet; `harkd check` warns */
#define HARK_WANTS_ANNOTATIONS 8u /* annotation.*, before the final */
#define HARK_WANTS_SEGMENTS 16u   /* transcript.segment; a new process gets the earlier ones of a job again; what it emits then is dropped */

/* Properties of the plugin: hark_plugin.flags. */
#define HARK_TRANSFORM 1u /* replaces text: runs before all other plugins, and before any part of the transcript leaves the daemon. A source
                             whose transforms do not want partials or segments publishes none. */

/*
 * Functions of the host that a plugin may call. Owner: the host. Valid during the call that it is passed to, on that call's thread.
 * The functions return HARK_OK, or HARK_ERROR if the host refuses (the host keeps the reason for the log and the event).
 */
typedef struct hark_host {
    uint32_t size;  /* of this struct in bytes; a later minor version adds functions at the end */
    uint32_t minor; /* of the host */
    void *user;     /* pass it as the first argument */

    /*
     * Publishes an event of the current event's job, after that event and in the order of the calls. `piece` and `revision` tell which
     * segment or partial it is about; the daemon fills them in. An alert keeps its id from tentative to the end: for each id the daemon
     * publishes "tentative", "confirmed" and a retraction at most once each, in this order. At the end it retracts tentative alerts.
     * kind     "alert.raised", "alert.retracted": json is an object with alert, rule, severity ("info", "warning", "critical"), state
     *          ("tentative", "confirmed"), quote, and where known channel, role, begin_ms, end_ms, reason. `plugin` is filled in,
     *          and "{plugin}" in alert becomes the same name.
     *          "plugin": json is anything; it is published as plugin.<name>, in `data`.
     * When     during on_event.
     * Failure  HARK_ERROR for another kind, JSON of another shape or nested deeper than 64 levels, more than 1 MiB, or for one event
     *          more than 20,000 emissions, or 8 MiB or 65,536 JSON values in all of them.
     */
    int32_t (*emit)(void *user, const char *kind, size_t kind_length, const char *json, size_t json_length);

    /*
     * Annotates the transcript.
     * name     "language" or "emotion": json is an object with channel, value, and where known role, begin_ms, end_ms.
     *          Any other [a-z0-9_-]+: json is anything; it is published as plugin.<name>, with `data` {"<name>": json}.
     * When     during on_event.
     * Failure  as emit; both share the limits.
     */
    int32_t (*annotate)(void *user, const char *name, size_t name_length, const char *json, size_t json_length);

    /*
     * Replaces the text of the transcript that on_event was called with: {"text": "…", "segments": ["…", …]}, one text for each segment.
     * A transcript of one segment needs no `segments`: it gets `text`. A partial has no segments. In a transcript.segment only `segments`
     * has an effect. Of several calls the last one counts. Times, roles and all other fields stay.
     * When     during on_event with a transcript.final, .segment or .partial, in a plugin with HARK_TRANSFORM.
     * Failure  HARK_ERROR elsewhere, for JSON of another shape, and for another number of segments. Then return HARK_ERROR from
     *          on_event: `on_failure` (skip or hold) in the daemon's configuration decides what happens to the transcript.
     */
    int32_t (*replace)(void *user, const char *json, size_t json_length);

    /*
     * Writes a line to the daemon's log. A line is cut at 1 KiB; lines beyond some tens per second are dropped and counted.
     * Never put the text of a transcript into it above HARK_LOG_TRACE: logs are read by more people than transcripts.
     * When     during any call.
     * Failure  none.
     */
    void (*log)(void *user, int32_t level, const char *text, size_t length);

    /*
     * Since 1.1: check `size` before use. Hands a file to the daemon, which writes it beside the recording, or into the folder `files` of the
     * plugin's configuration: as <base><suffix>, where <base> is the recording's name without its extension. It replaces only a file that
     * it wrote for the same recording, else the name is <base>.2<suffix>, <base>.3<suffix>, … The paths are published as plugin.<name>,
     * with `data` {"files": [paths]}. A recording that came in a message has no folder: without `files` it gets none.
     * suffix   a dot, then letters, digits, dots, _ and -, at most 32 bytes; not one that the source takes for a recording.
     * bytes    at most 16 MiB; for one event at most 8 files and 32 MiB.
     * When     during on_event with a transcript.final. The last file of a suffix counts.
     * Failure  HARK_ERROR elsewhere, and beyond these limits. If the daemon fails to write a file, it reports that as an error of the plugin.
     */
    int32_t (*file)(void *user, const char *suffix, size_t suffix_length, const char *bytes, size_t length);
} hark_host;

/* The plugin's table. Owner: the plugin, as long as the process lives; the library is never unloaded. */
struct hark_plugin {
    /* These four fields never change, in any version. */
    uint32_t magic; /* HARK_MAGIC */
    uint32_t size;  /* sizeof(struct hark_plugin) as the plugin was compiled */
    uint32_t major; /* HARK_MAJOR */
    uint32_t minor; /* HARK_MINOR */

    uint32_t wants;      /* HARK_WANTS_…, or-ed */
    uint32_t flags;      /* HARK_TRANSFORM or 0 */
    const char *version; /* the plugin's own version, NUL-terminated, for `harkd plugins list`; may be NULL */

    /*
     * Creates the one instance of this process from [plugin.config] as a JSON object ("{}" when there is none).
     * When     once, before any event.
     * Owner    the instance belongs to the plugin; the host only passes it back.
     * Warnings for each setting that is valid but probably unintended, one line of log at HARK_LOG_WARN. `harkd check` prints them.
     * Failure  NULL, after one line of log at HARK_LOG_ERROR for each mistake, which begins with the key at fault and says what to do;
     *          the first 64 count. The plugin then counts as failed; the daemon retries when its library changes and with growing pauses.
     */
    void *(*create)(const hark_host *host, const char *config, size_t config_length);

    /*
     * Processes one event. `kind` is "transcript.final" and so on, `body` the event's JSON body.
     * When     after create, for each event in `wants`; not again after HARK_FAILED. An event during
     *          which a process died may come a second time, to the next process.
     * Failure  HARK_ERROR or HARK_FAILED, see above.
     */
    int32_t (*on_event)(void *self, const hark_host *host, const char *kind, size_t kind_length, const char *body,
                        size_t body_length);

    /*
     * Frees the instance.
     * When     once, last, when the process ends in good order; not after HARK_FAILED, and not when the process is killed, so a plugin
     *          must not depend on this call.
     */
    void (*destroy)(void *self, const hark_host *host);

    /*
     * Since 1.1: the JSON Schema of [plugin.config], NUL-terminated, valid as long as the library. The daemon checks the config with it
     * before create, and `harkd check` prints each mistake with its line. Let create refuse what a schema cannot express.
     * When     once, before create. The field may be NULL: then create alone judges the config.
     * Failure  NULL or text that is no JSON Schema: the plugin counts as failed.
     */
    const char *(*schema)(void);
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
