/* What `needs.c` needs. */
const char *needed(void);

const char *needed(void) {
    return "{\"greeting\": \"from beside\"}";
}
