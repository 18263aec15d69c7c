/* The library that `needs.c` links with. */
const char *needed(void);

const char *needed(void) {
    return "{\"greeting\": \"from beside\"}";
}
