/* Threads that share a job of many tasks. They are those of OpenMP's team of the caller wherever torch's OpenMP is known
 * (see ac_use_team): after each operation of its own, torch leaves that team spinning for some milliseconds, and threads
 * of ours beside it would have to share the cores with it. Without, or in a forked child, they are our own. */

#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "vectors.h"

/* What a wheel carries is asked to load with a glibc that is older than the one it was linked with: glibc 2.34 gave the
 * functions of threads a second name. aarch64 began with 2.17. */
#if defined(OLD_GLIBC) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__x86_64__)
#define FIRST_GLIBC "GLIBC_2.2.5"
#else
#define FIRST_GLIBC "GLIBC_2.17"
#endif
#define OLD_NAME(function) __asm__(".symver " #function "," #function "@" FIRST_GLIBC)
OLD_NAME(pthread_create);
OLD_NAME(pthread_mutex_trylock);
OLD_NAME(pthread_attr_setdetachstate);
#endif

/* A job is `count` tasks. The ticket holds its number, its count and the next task, so that a thread that comes late
 * can never take a task of a job that is over. */
typedef struct {
    void (*run)(void *job, int task, int thread);
    void *job;
    int first; /* of its tasks, in the job that the caller wanted */
} Work;

/* GOMP_parallel_start and GOMP_parallel_end. */
typedef void (*StartTeam)(void (*member)(void *), void *data, unsigned threads);
typedef void (*EndTeam)(void);

/* FIELD bits hold a count of tasks, and room for every thread to ask for one more. */
enum { MOST_THREADS = 64, FIELD = 20, MOST_TASKS = 1 << 19, SPINS = 4000 };

static struct {
    _Alignas(128) _Atomic uint64_t ticket;
    _Alignas(128) _Atomic int completed;
    _Alignas(128) _Atomic int sleeping;
    _Atomic int joined, over; /* of the team */
    Work work;
    pthread_mutex_t lock, owner;
    pthread_cond_t wake;
    int workers, in_team, forked;
    uint64_t jobs;
    StartTeam start_team;
    EndTeam end_team;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .owner = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

INLINE void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

INLINE int has_task(uint64_t ticket) {
    const uint64_t mask = (1u << FIELD) - 1;
    return (ticket & mask) < ((ticket >> FIELD) & mask);
}

/* Take tasks until there are none. */
static void run_tasks(int thread) {
    const uint64_t mask = (1u << FIELD) - 1;
    while (has_task(atomic_load(&pool.ticket))) {
        uint64_t ticket = atomic_fetch_add(&pool.ticket, 1);
        if (!has_task(ticket)) return;
        pool.work.run(pool.work.job, pool.work.first + (int)(ticket & mask), thread);
        atomic_fetch_add(&pool.completed, 1);
    }
}

INLINE int is_called(int of_team) { return has_task(atomic_load(&pool.ticket)) || (of_team && atomic_load(&pool.over)); }

/* Wait for jobs, awake for some microseconds and then asleep; a member of the team until the team is over. */
static void worker_loop(int thread, int of_team) {
    for (;;) {
        int spins = 0;
        while (!is_called(of_team) && ++spins < SPINS) relax();
        if (spins >= SPINS) {
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.sleeping, 1);
            while (!is_called(of_team)) pthread_cond_wait(&pool.wake, &pool.lock);
            atomic_fetch_sub(&pool.sleeping, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        if (of_team && atomic_load(&pool.over)) return;
        run_tasks(thread);
    }
}

static void *worker(void *argument) {
    worker_loop((int)(intptr_t)argument, 0);
    return NULL;
}

static void member(void *argument) {
    (void)argument;
    worker_loop(atomic_fetch_add(&pool.joined, 1) + 1, 1);
}

static void wake_sleepers(void) {
    if (atomic_load(&pool.sleeping)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
}

/* A forked child has none of its parent's threads, and OpenMP does not know that. */
static void forget_threads(void) {
    pool.workers = pool.in_team = 0;
    pool.forked = 1;
    atomic_store(&pool.ticket, 0);
    atomic_store(&pool.sleeping, 0);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_mutex_init(&pool.owner, NULL);
    pthread_cond_init(&pool.wake, NULL);
}

static void spawn_workers(int workers) {
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (pool.workers < workers) {
        pthread_t id;
        if (pthread_create(&id, &detached, worker, (void *)(intptr_t)(pool.workers + 1))) break;
        pool.workers++;
    }
    pthread_attr_destroy(&detached);
}

/* How many threads may work until `close_pool`; a second caller at the same time works alone. */
static int open_pool(int threads) {
    static int registered;
    if (threads <= 1 || pthread_mutex_trylock(&pool.owner)) return 1;
    if (!registered) registered = !pthread_atfork(NULL, NULL, forget_threads);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (pool.start_team && !pool.forked) {
        atomic_store(&pool.joined, 0);
        atomic_store(&pool.over, 0);
        pool.in_team = 1;
        pool.start_team(member, NULL, (unsigned)threads);
        return threads;
    }
    spawn_workers(threads - 1);
    if (pool.workers) return pool.workers + 1;
    pthread_mutex_unlock(&pool.owner);
    return 1;
}

static void close_pool(int threads) {
    if (threads <= 1) return;
    if (pool.in_team) {
        pool.in_team = 0;
        atomic_store(&pool.over, 1);
        wake_sleepers();
        pool.end_team();
    }
    pthread_mutex_unlock(&pool.owner);
}

/* At most MOST_TASKS tasks, from `first` on, by all threads. */
static void share(int first, int count, void (*run)(void *, int, int), void *job) {
    pool.work = (Work){run, job, first};
    atomic_store(&pool.completed, 0);
    atomic_store(&pool.ticket, (++pool.jobs << (2 * FIELD)) | ((uint64_t)count << FIELD));
    wake_sleepers();
    run_tasks(0);
    for (int spins = 0; atomic_load(&pool.completed) < count; spins++) {
        relax();
        if (spins > SPINS) sched_yield(); /* whoever has the last task may wait for this core */
    }
}

static void parallel(int threads, int count, void (*run)(void *, int, int), void *job) {
    if (threads <= 1 || count <= 1) {
        for (int task = 0; task < count; task++) run(job, task, 0);
        return;
    }
    for (int first = 0; first < count; first += MOST_TASKS)
        share(first, count - first < MOST_TASKS ? count - first : MOST_TASKS, run, job);
}
