/* A pool of threads that carry out the parts of a job.
 *
 * Design: a job is divided into parts, and each thread that is running takes the next one. The caller takes parts like any
 * helper, all of them if no helper runs, and then waits for parts that were started, never for a thread: on a busy machine a
 * helper may not run for milliseconds. Which thread carries out a part does not affect the result.
 *
 * Each member starts with its own queue of neighbouring parts, which its cache probably holds from the job before, and then
 * takes parts from the other queues. A queue's next part and the job's number are in one word, which is updated by
 * compare-and-swap, so a helper that is late, when the slot holds another job, cannot take a part of that by mistake.
 *
 * A helper without work spins for a moment (SPIN) and then sleeps. It is woken for a job that is long enough
 * (WAKE_BYTES), or if jobs come in such quick succession that it will be in time for the next. A caller that waits for a
 * part also spins, then sleeps, which leaves its CPU to the thread that has the part. If other programs need the other
 * CPUs, the system may let a helper run on the caller's: there it does not spin, leaves short jobs alone, and is not woken
 * for another one for a while (PAUSE).
 *
 * If other programs need the CPUs, a helper can be preempted in the middle of a part, and the caller has to wait. Such a
 * stall is measured, and for a multiple of its duration fewer helpers are used, on two CPUs none. So stalls cost a fraction
 * of the time at most, and all helpers are used again soon after the machine is idle.
 *
 * Threads of a program may have jobs at the same time, each in a slot; if no slot is free, the caller works alone. Helpers
 * run no Python code, handle no signals and do not keep a process from exiting. OpenMP is the other way to carry out the
 * same parts (GDFAST_THREADING=openmp), and the only one where there are no POSIX threads. */
#ifndef GDFAST_TEAM_H
#define GDFAST_TEAM_H

#include "engine/cpus.h"

#include <stddef.h>
#include <stdint.h>
#ifdef _OPENMP
#include <omp.h>
#endif

typedef void (*gdfast_task)(void *context, ptrdiff_t part, ptrdiff_t member);

static void gdfast_run_alone(gdfast_task task, void *context, ptrdiff_t parts)
{
    for (ptrdiff_t part = 0; part < parts; part++)
        task(context, part, 0);
}

static void gdfast_run_openmp(gdfast_task task, void *context, ptrdiff_t parts, ptrdiff_t threads)
{
#ifdef _OPENMP
    ptrdiff_t part;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (part = 0; part < parts; part++)
        task(context, part, omp_get_thread_num());
#else
    (void)threads;
    gdfast_run_alone(task, context, parts);
#endif
}

#if defined(_MSC_VER)
#define GDFAST_TEAM 0
#define gdfast_hold_helpers(held) ((void)(held))
#define gdfast_helpers() 0
#define gdfast_forked() 0
static void gdfast_run_team(gdfast_task task, void *context, ptrdiff_t parts, ptrdiff_t threads, ptrdiff_t n_bytes)
{
    (void)n_bytes;
    gdfast_run_openmp(task, context, parts, threads);
}
#else
#define GDFAST_TEAM 1

#include <pthread.h>
#include <signal.h>

/* Times in nanoseconds; measured, see docs/decisions/nobody-waits-for-a-thread.md. */
enum {
    GDFAST_SLOTS = 8,                     /* jobs at the same time */
    GDFAST_MEMBERS = 128,                 /* threads of one job */
    GDFAST_LOOKS = 32,                    /* polls between two readings of the clock */
    GDFAST_SPIN = 50 * 1000,              /* time to poll before sleeping */
    GDFAST_WAKE_BYTES = 2 << 20,          /* minimum size of a job to wake helpers for */
    GDFAST_PAUSE = 2 * 1000 * 1000,       /* time during which no helper is woken for shorter jobs */
    GDFAST_STALL = 250 * 1000,            /* waiting longer than this, and two parts, for the last parts is a stall */
    GDFAST_BACK_OFF = 8,                  /* at first, use fewer helpers for this multiple of its duration */
    GDFAST_MOST_BACK_OFF = 64,            /* the largest such multiple */
    GDFAST_RECOVERY = 10 * 1000 * 1000,   /* time after which the number of helpers is doubled again */
};

typedef struct {
    uint64_t next; /* the job's number (upper half), and the next part to be taken */
    uint64_t end;
    char own_line[48];
} gdfast_queue;

typedef struct {
    uint64_t seats; /* the job's number (upper half), and how many more helpers may join */
    char own_line[56];
    int64_t left; /* parts that are not done */
    int sleeping; /* whether the caller sleeps until they are done */
    char another_line[52];
    int owned; /* whether a caller has this slot */
    int cpu;   /* on which its caller was when it published the job */
    int brief; /* whether the job is shorter than WAKE_BYTES */
    uint64_t queues_used;
    gdfast_task task;
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t done;
    gdfast_queue queues[GDFAST_MEMBERS];
} gdfast_job;

static struct {
    uint64_t published; /* counts jobs, once all data of a job are visible */
    char own_line[56];
    uint64_t numbers; /* counts jobs too, when they are created */
    int helpers, sleepers;
    int held; /* helpers take no parts, for tests */
    int most; /* maximum number of helpers while backing off */
    int forked; /* whether this process was forked, so that there are no helpers in it */
    int64_t last_end, back_off, back_off_until, wake_after;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    gdfast_job jobs[GDFAST_SLOTS];
} gdfast_team;

#define gdfast_get(place) __atomic_load_n((place), __ATOMIC_RELAXED)
#define gdfast_set(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
#define gdfast_acquire(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#define gdfast_release(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
#define gdfast_swap(place, old, value) \
    __atomic_compare_exchange_n((place), (old), (value), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
/* Sequentially consistent, for "no work, so I sleep" against "someone sleeps, so I wake them". */
#define gdfast_get_ordered(place) __atomic_load_n((place), __ATOMIC_SEQ_CST)
#define gdfast_add_ordered(place, value) __atomic_add_fetch((place), (value), __ATOMIC_SEQ_CST)

#if defined(__x86_64__) || defined(__i386__)
#define gdfast_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define gdfast_pause() __asm__ __volatile__("isb")
#else
#define gdfast_pause() ((void)0)
#endif

/* Take a part of a queue; -1 if none is left, or the queue belongs to another job by now. */
static ptrdiff_t gdfast_take(gdfast_queue *queue, uint64_t number)
{
    uint64_t next = gdfast_acquire(&queue->next);
    while (next >> 32 == number && (uint32_t)next < gdfast_acquire(&queue->end))
        if (gdfast_swap(&queue->next, &next, next + 1))
            return (ptrdiff_t)(uint32_t)next;
    return -1;
}

/* Take parts until none is left, those of the member's own queue first; returns how many. A job cannot change while a taken part of it is not
 * done; before a part is taken, only the number of queues is read, and an outdated one does no harm. */
static int64_t gdfast_work(gdfast_job *job, uint64_t number, uint64_t member)
{
    uint64_t queues = gdfast_get(&job->queues_used), k;
    int64_t done = 0;
    ptrdiff_t part;
    for (k = 0; k < queues; k++)
        while ((part = gdfast_take(&job->queues[(member + k) % queues], number)) >= 0) {
            job->task(job->context, part, (ptrdiff_t)member);
            done++;
        }
    if (done > 0 && gdfast_add_ordered(&job->left, -done) == 0 && gdfast_get_ordered(&job->sleeping)) {
        pthread_mutex_lock(&job->lock);
        pthread_cond_signal(&job->done);
        pthread_mutex_unlock(&job->lock);
    }
    return done;
}

/* Join every job that has a free seat; returns whether a job's caller needs this helper's CPU. */
static int gdfast_join(void)
{
    int in_the_way = 0;
    for (int i = 0; i < GDFAST_SLOTS; i++) {
        gdfast_job *job = &gdfast_team.jobs[i];
        uint64_t seats = gdfast_acquire(&job->seats);
        if ((uint32_t)seats > 0 && gdfast_get(&job->cpu) >= 0 && gdfast_get(&job->cpu) == gdfast_cpu()) {
            in_the_way = 1;
            if (gdfast_get(&job->brief)) {
                gdfast_set(&gdfast_team.wake_after, gdfast_now() + GDFAST_PAUSE);
                continue;
            }
        }
        while ((uint32_t)seats > 0 && !gdfast_get(&gdfast_team.held))
            if (gdfast_swap(&job->seats, &seats, seats - 1)) {
                gdfast_work(job, seats >> 32, (uint32_t)seats);
                break;
            }
    }
    return in_the_way;
}

static void *gdfast_helper(void *nothing)
{
    for (;;) {
        uint64_t seen = gdfast_get_ordered(&gdfast_team.published);
        int64_t until = gdfast_join() ? 0 : gdfast_now() + GDFAST_SPIN;
        while (gdfast_acquire(&gdfast_team.published) == seen && gdfast_now() < until)
            for (int i = 0; i < GDFAST_LOOKS && gdfast_acquire(&gdfast_team.published) == seen; i++)
                gdfast_pause();
        if (gdfast_acquire(&gdfast_team.published) != seen)
            continue;
        pthread_mutex_lock(&gdfast_team.lock);
        gdfast_add_ordered(&gdfast_team.sleepers, 1);
        if (gdfast_get_ordered(&gdfast_team.published) == seen)
            pthread_cond_wait(&gdfast_team.wake, &gdfast_team.lock);
        gdfast_add_ordered(&gdfast_team.sleepers, -1);
        pthread_mutex_unlock(&gdfast_team.lock);
    }
    return nothing;
}

/* Start helpers until there are `wanted`, or no more can be started. */
static void gdfast_start_helpers(int wanted)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_mutex_lock(&gdfast_team.lock);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (gdfast_get(&gdfast_team.helpers) < wanted && pthread_create(&thread, NULL, gdfast_helper, NULL) == 0) {
        pthread_detach(thread);
        gdfast_add_ordered(&gdfast_team.helpers, 1);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_unlock(&gdfast_team.lock);
}

/* The number of helpers to use, at most `wanted`. */
static int gdfast_helpers_to_ask(int wanted)
{
    int64_t until = gdfast_get(&gdfast_team.back_off_until);
    int most = gdfast_get(&gdfast_team.most);
    if (until == 0)
        return wanted;
    if (gdfast_now() >= until) {
        most = 2 * most + 1;
        gdfast_set(&gdfast_team.most, most);
        gdfast_set(&gdfast_team.back_off_until, most < GDFAST_MEMBERS ? gdfast_now() + GDFAST_RECOVERY : 0);
    }
    return wanted < most ? wanted : most;
}

/* Use fewer helpers for a while, after a stall; for longer if there was another one recently. */
static void gdfast_back_off(int helpers, int64_t stall, int64_t now)
{
    int64_t times = gdfast_get(&gdfast_team.back_off), until = gdfast_get(&gdfast_team.back_off_until);
    times = until == 0 ? GDFAST_BACK_OFF : 2 * times;
    times = times < GDFAST_MOST_BACK_OFF ? times : GDFAST_MOST_BACK_OFF;
    gdfast_set(&gdfast_team.back_off, times);
    gdfast_set(&gdfast_team.most, helpers / 2);
    gdfast_set(&gdfast_team.back_off_until, now + times * stall);
}

/* Wait until a job's parts are done. The caller has taken `mine` of them since `start`: how long one is, is no stall. */
static void gdfast_wait(gdfast_job *job, int helpers, int64_t mine, int64_t start)
{
    int64_t begin = gdfast_now(), now = begin, usual = GDFAST_STALL + 2 * (begin - start) / (mine > 0 ? mine : 1);
    while (gdfast_acquire(&job->left) > 0 && now < begin + GDFAST_SPIN) {
        for (int i = 0; i < GDFAST_LOOKS && gdfast_acquire(&job->left) > 0; i++)
            gdfast_pause();
        now = gdfast_now();
    }
    if (gdfast_acquire(&job->left) > 0) {
        pthread_mutex_lock(&job->lock);
        gdfast_add_ordered(&job->sleeping, 1);
        while (gdfast_get_ordered(&job->left) > 0)
            pthread_cond_wait(&job->done, &job->lock);
        gdfast_add_ordered(&job->sleeping, -1);
        pthread_mutex_unlock(&job->lock);
        now = gdfast_now();
    }
    if (now - begin > usual)
        gdfast_back_off(helpers, now - begin, now);
}

static gdfast_job *gdfast_free_slot(void)
{
    for (int i = 0; i < GDFAST_SLOTS; i++) {
        int nobody = 0;
        if (!gdfast_get(&gdfast_team.jobs[i].owned) && gdfast_swap(&gdfast_team.jobs[i].owned, &nobody, 1))
            return &gdfast_team.jobs[i];
    }
    return NULL;
}

/* Publish a job to the helpers; what they read first is written last. Returns its number. */
static uint64_t gdfast_publish(
    gdfast_job *job, gdfast_task task, void *context, uint64_t parts, uint64_t members, ptrdiff_t n_bytes)
{
    uint64_t number = (uint32_t)__atomic_add_fetch(&gdfast_team.numbers, 1, __ATOMIC_RELAXED), k;
    job->task = task;
    job->context = context;
    gdfast_set(&job->left, (int64_t)parts);
    gdfast_set(&job->queues_used, members);
    gdfast_set(&job->cpu, gdfast_cpu());
    gdfast_set(&job->brief, n_bytes < GDFAST_WAKE_BYTES);
    for (k = 0; k < members; k++) {
        /* In this order: with the old number still in `next`, a late helper would take what lies below the new end. */
        gdfast_release(&job->queues[k].next, number << 32 | parts * k / members);
        gdfast_release(&job->queues[k].end, parts * (k + 1) / members);
    }
    gdfast_release(&job->seats, number << 32 | (members - 1));
    gdfast_add_ordered(&gdfast_team.published, 1);
    return number;
}

/* Wake sleeping helpers if that pays. */
static void gdfast_wake_helpers(int wanted, ptrdiff_t n_bytes)
{
    int awake = gdfast_get(&gdfast_team.helpers) - gdfast_get_ordered(&gdfast_team.sleepers);
    if (awake >= wanted)
        return;
    if (n_bytes < GDFAST_WAKE_BYTES) {
        int64_t now = gdfast_now();
        if (now > gdfast_get(&gdfast_team.last_end) + GDFAST_SPIN || now < gdfast_get(&gdfast_team.wake_after))
            return;
    }
    pthread_mutex_lock(&gdfast_team.lock);
    for (; awake < wanted; awake++)
        pthread_cond_signal(&gdfast_team.wake);
    pthread_mutex_unlock(&gdfast_team.lock);
}

static void gdfast_run_team(gdfast_task task, void *context, ptrdiff_t parts, ptrdiff_t threads, ptrdiff_t n_bytes)
{
    ptrdiff_t most = parts < GDFAST_MEMBERS ? parts : GDFAST_MEMBERS;
    int helpers = gdfast_helpers_to_ask((int)(threads < most ? threads : most) - 1);
    gdfast_job *job = helpers > 0 && parts < UINT32_MAX ? gdfast_free_slot() : NULL;
    int64_t start, mine;
    uint64_t number;
    if (job == NULL) {
        gdfast_run_alone(task, context, parts);
        return;
    }
    if (gdfast_get(&gdfast_team.helpers) < helpers)
        gdfast_start_helpers(helpers);
    start = gdfast_now();
    number = gdfast_publish(job, task, context, (uint64_t)parts, (uint64_t)helpers + 1, n_bytes);
    gdfast_wake_helpers(helpers, n_bytes);
    mine = gdfast_work(job, number, 0);
    if (gdfast_acquire(&job->left) > 0)
        gdfast_wait(job, helpers, mine, start);
    gdfast_release(&job->seats, 0);
    gdfast_set(&gdfast_team.last_end, gdfast_now());
    gdfast_release(&job->owned, 0);
}

static void gdfast_after_fork(void)
{
    gdfast_team.forked = 1;
}

static void gdfast_init_team(void)
{
    pthread_atfork(NULL, NULL, gdfast_after_fork);
    pthread_mutex_init(&gdfast_team.lock, NULL);
    pthread_cond_init(&gdfast_team.wake, NULL);
    for (int i = 0; i < GDFAST_SLOTS; i++) {
        pthread_mutex_init(&gdfast_team.jobs[i].lock, NULL);
        pthread_cond_init(&gdfast_team.jobs[i].done, NULL);
    }
}
#define gdfast_hold_helpers(hold) gdfast_set(&gdfast_team.held, (hold))
#define gdfast_helpers() gdfast_get(&gdfast_team.helpers)
#define gdfast_forked() gdfast_get(&gdfast_team.forked)
#endif
#endif
