/* How a team of threads shares the work of an epoch, phase by phase.
 *
 * The work of a phase is cut into items, and each is taken by one thread: first those that are its own, which find in its
 * cache what it left there, then any that nobody has taken. So a phase ends when its items are done, whoever is there: a
 * thread that the machine does not run, because another library's threads keep its CPU busy, is not waited for, and goes on
 * later where the others are by then. Who does an item decides nothing about the numbers.
 *
 * An item takes microseconds, so a thread that has to wait looks again and again for a while; then it gives its CPU away,
 * and at last sleeps, so that whoever is in the middle of an item gets it. */
#ifndef GDFAST_PHASES_H
#define GDFAST_PHASES_H

#if defined(_MSC_VER)
#include <intrin.h>
#include <windows.h>
#define gdfast_read(number) _InterlockedOr((number), 0)
#define gdfast_write(number, value) _InterlockedExchange((number), (value))
#define gdfast_count_down(number) _InterlockedDecrement((number))
#define gdfast_swap(number, old, value) (_InterlockedCompareExchange((number), (value), (old)) == (old))
#define gdfast_give_way() SwitchToThread()
#define gdfast_doze() Sleep(0)
#else
#include <sched.h>
#include <time.h>
#define gdfast_read(number) __atomic_load_n((number), __ATOMIC_ACQUIRE)
#define gdfast_write(number, value) __atomic_store_n((number), (value), __ATOMIC_RELEASE)
#define gdfast_count_down(number) __atomic_sub_fetch((number), 1, __ATOMIC_ACQ_REL)
#define gdfast_swap(number, old, value) __sync_bool_compare_and_swap((number), (old), (value))
#define gdfast_give_way() sched_yield()
#define gdfast_doze() nanosleep(&(struct timespec){0, 20000}, NULL)
#endif

#if defined(__x86_64__) || defined(__i386__)
#define gdfast_pause() __builtin_ia32_pause()
#elif defined(_M_X64)
#define gdfast_pause() _mm_pause()
#else
#define gdfast_pause() ((void)0)
#endif

#ifdef _OPENMP
#include <omp.h>
#define gdfast_team_size() omp_get_num_threads()
#else
#define gdfast_team_size() 1
#endif

#define GDFAST_LOOKS 2000
#define GDFAST_TURNS 2020

typedef struct {         /* a number on a cache line of its own: all threads write to it */
    long number;
    char apart[60];
} gdfast_shared;

typedef struct {
    gdfast_shared phase; /* the one that is being worked on, counted from 1; they are all begun in order */
    gdfast_shared left;  /* its items that are not done */
} gdfast_phases;

/* Begin a phase of so many items. Called once for each, the first time before there is a team, and then by whoever finished
 * the last item of the phase before. */
static void gdfast_begin(gdfast_phases *phases, long phase, long items)
{
    gdfast_write(&phases->left.number, items);
    gdfast_write(&phases->phase.number, phase);
}

/* Whether the caller is the one to do this item of this phase; `taken` holds the last phase in which it was taken. */
static int gdfast_take(gdfast_shared *taken, long phase)
{
    long last = gdfast_read(&taken->number);
    return last < phase && gdfast_swap(&taken->number, last, phase);
}

/* Whether the item that the caller has done was the last of its phase. */
static int gdfast_done(gdfast_phases *phases)
{
    return gdfast_count_down(&phases->left.number) == 0;
}

/* Wait until this phase is over, and return the one that is being worked on. */
static long gdfast_after(gdfast_phases *phases, long phase)
{
    long now, looks = 0;
    while ((now = gdfast_read(&phases->phase.number)) <= phase) {
        if (++looks < GDFAST_LOOKS)
            gdfast_pause();
        else if (looks < GDFAST_TURNS)
            gdfast_give_way();
        else
            gdfast_doze();
    }
    return now;
}

#endif
