/* The time, and the CPUs that a thread runs and may run on. */
#ifndef GDFAST_CPUS_H
#define GDFAST_CPUS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* as Python.h does, which comes first where there is Python */
#endif
#include <stdint.h>

#if !defined(_MSC_VER)
#include <time.h>
static int64_t gdfast_now(void) /* in nanoseconds */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
#endif

/* The CPU that this thread is running on, -1 if the system does not say; and how many CPUs it may run on, 0 likewise, as it
 * was a moment ago unless `now`: asking the system takes as long as stepping a thousand elements. */
#if defined(__linux__)
#include <sched.h>
enum { GDFAST_RECENT = 10 * 1000 * 1000, GDFAST_CPU_SETS = 16 /* of 1,024 CPUs */ };
#define gdfast_cpu() sched_getcpu()
static int gdfast_allowed_cpus(int now)
{
    static __thread int known;
    static __thread int64_t until;
    cpu_set_t cpus[GDFAST_CPU_SETS];
    if (now || gdfast_now() > until) {
        known = sched_getaffinity(0, sizeof(cpus), cpus) == 0 ? CPU_COUNT_S(sizeof(cpus), cpus) : 0;
        until = gdfast_now() + GDFAST_RECENT;
    }
    return known;
}
#else
#define gdfast_cpu() (-1)
#define gdfast_allowed_cpus(now) 0
#endif
#endif
