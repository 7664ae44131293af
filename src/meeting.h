/* Where the threads of a team wait for one another between the phases of an epoch.
 *
 * A step of a small mini-batch takes microseconds, so a waiting thread looks again and again for a while; then it gives
 * its CPU away, and at last sleeps, so that on a busy machine the one waited for gets it. (OpenMP's own barrier keeps the CPU for a
 * millisecond, which made an epoch on a busy machine fifty times slower.) */
#ifndef GDFAST_MEETING_H
#define GDFAST_MEETING_H

#if defined(_MSC_VER)
#include <intrin.h>
#include <windows.h>
#define gdfast_read(number) _InterlockedOr((number), 0)
#define gdfast_write(number, value) _InterlockedExchange((number), (value))
#define gdfast_count(number) _InterlockedIncrement((number))
#define gdfast_give_way() SwitchToThread()
#define gdfast_doze() Sleep(0)
#else
#include <sched.h>
#include <time.h>
#define gdfast_read(number) __atomic_load_n((number), __ATOMIC_ACQUIRE)
#define gdfast_write(number, value) __atomic_store_n((number), (value), __ATOMIC_RELEASE)
#define gdfast_count(number) __atomic_add_fetch((number), 1, __ATOMIC_ACQ_REL)
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

typedef struct {
    long arrived;
    char apart[60];      /* on cache lines of their own: one is written by all, the other read by all */
    long round;
} gdfast_meeting;

/* Return when all of the team have called. */
static void gdfast_meet(gdfast_meeting *meeting, long team)
{
    long round, looks = 0;
    if (team <= 1)
        return;
    round = gdfast_read(&meeting->round);
    if (gdfast_count(&meeting->arrived) == team) {
        gdfast_write(&meeting->arrived, 0);
        gdfast_write(&meeting->round, round + 1);
        return;
    }
    while (gdfast_read(&meeting->round) == round) {
        if (++looks < GDFAST_LOOKS)
            gdfast_pause();
        else if (looks < GDFAST_TURNS)
            gdfast_give_way();
        else
            gdfast_doze();
    }
}

#endif
