/* Reserves address space as a runtime with a garbage collector does, starts as many threads as a runtime on many processors does, and uses
   little memory. */
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base.h"

#define RESERVED (64ul << 30)
#define THREADS 128

static void *work(void *argument) {
    pthread_barrier_wait(argument);
    return NULL;
}

static void *create(const hark_host *host, const char *config, size_t length) {
    static pthread_barrier_t all;
    pthread_t thread;
    char *heap = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (heap == MAP_FAILED) return complain(host, "64 GiB of addresses are refused"), NULL;
    if (mprotect(heap, 16 << 20, PROT_READ | PROT_WRITE) != 0) return complain(host, "16 MiB are refused"), NULL;
    memset(heap, 1, 16 << 20);
    pthread_barrier_init(&all, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, work, &all) != 0) return complain(host, "a thread is refused"), NULL;
    pthread_barrier_wait(&all);
    return make(host, config, length);
}

ON_EVENT {
    UNUSED;
    char *memory = mmap(NULL, 512 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return emit(host, "plugin", memory == MAP_FAILED ? "{\"memory\": \"refused\"}" : "{\"memory\": \"done\"}");
}

PLUGIN(HARK_WANTS_FINALS, 0, create, on_event);
