/* Obeys the command in the transcript ("do abort"), and otherwise greets: one plugin for all ways to fail. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base.h"

static volatile int sink;

static int recurse(int depth) {
    volatile char room[4096];
    room[0] = (char)depth;
    return recurse(depth + 1) + room[0];
}

static void *sleeper(void *nothing) {
    for (;;) sleep(60);
    return nothing;
}

/* Starts threads, and forks after each, until no more threads start; returns the number of threads. */
static int bomb(void) {
    int count = 0;
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
    for (; pthread_create(&thread, &small, sleeper, NULL) == 0; count++) {
        if (fork() == 0) sleeper(NULL);
    }
    return count;
}

/* Emits "refused", or "done" if the attempt succeeded: every attempt must be refused. */
static int32_t report(const hark_host *host, const char *what, int succeeded) {
    char json[128];
    snprintf(json, sizeof json, "{\"%s\": %s}", what, succeeded ? "\"done\"" : "\"refused\"");
    return emit(host, "plugin", json);
}

ON_EVENT {
    UNUSED;
#define IF(word) if (says(body, length, "do " word))
    IF("segfault") *(volatile int *)(intptr_t)sink = 1;
    IF("abort") abort();
    IF("exit") _exit(3);
    IF("overflow") return recurse(0);
    IF("hang") while (sleep(60) == 0) {}
    IF("spin") while (!sink) {}
    IF("close") {
        for (int i = 0; i < 1024; i++) close(i);
        for (;;) sleep(60);
    }
    IF("devour") for (;;) {
        char *memory = malloc(1 << 20);
        memset(memory, 1, 1 << 20);
    }
    IF("error") return complain(host, "I do not like this one"), HARK_ERROR;
    IF("fail") return complain(host, "beyond repair"), HARK_FAILED;
    IF("nonsense") return 77;
    IF("print") for (int i = 0; i < 20000; i++) puts("printing what nobody asked for"), fputs("and shouting\n", stderr);
    IF("scribble") for (int i = 0; i < 256; i++) sink = (int)write(i, "\x05\x00\x00\x00hello", 9);
    IF("leak") for (int i = 0; i < 100000; i++) sink = open("/dev/null", O_RDONLY);
    IF("bomb") {
        char json[64];
        snprintf(json, sizeof json, "{\"greeting\": \"hello\", \"threads\": %d}", bomb());
        return emit(host, "plugin", json);
    }
    IF("babble") for (int i = 0; i < 5000; i++) complain(host, "babble");
    IF("fork") return report(host, "fork", fork() >= 0);
    IF("system") return report(host, "system", system("true") == 0);
    IF("chmod") return report(host, "chmod", chmod("/", 0755) == 0 || fchmod(open("/etc/hostname", O_RDONLY), 0644) == 0);
    IF("touch") return report(host, "touch", utimensat(AT_FDCWD, "/tmp", NULL, 0) == 0);
    IF("truncate") return report(host, "truncate", truncate("/nowhere", 0) == 0 || errno != EPERM);
    IF("own") return report(host, "own", fcntl(0, F_SETOWN, getppid()) == 0 || errno != EPERM);
    IF("lease") return report(host, "lease", fcntl(0, F_SETLEASE, F_RDLCK) == 0 || errno != EPERM);
    IF("renice") return report(host, "renice", setpriority(PRIO_PROCESS, 0, 19) == 0 || errno != EPERM);
    IF("share") return report(host, "share", shmget(IPC_PRIVATE, 4096, 0600) >= 0);
    IF("anonymous") return report(host, "anonymous", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    IF("memfd") return report(host, "memfd", memfd_create("mine", 0) >= 0);
    IF("getenv") return report(host, "getenv", environ != NULL && *environ != NULL);
    IF("connect") {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        int connected = connection >= 0 && (connect(connection, (struct sockaddr *)&address, sizeof address) == 0 || errno == ECONNREFUSED);
        return report(host, "connect", connected);
    }
    return emit(host, "plugin", "{\"greeting\": \"hello\"}");
}

PLUGIN(HARK_WANTS_FINALS, 0, make, on_event);
