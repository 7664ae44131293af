/* A helper on its caller's CPU takes no part of a short job and does not spin; of a long one it may. Built by test_team.py. */
#include "engine/team.h"

#include <stdio.h>

enum { PARTS = 20, JOBS = 300 };

static int helped;

static void part_of(void *context, ptrdiff_t part, ptrdiff_t member)
{
    (void)context, (void)part;
    helped += member > 0;
    for (volatile int i = 0; i < 3000; i++)
        ;
}

static void run(int jobs, ptrdiff_t n_bytes)
{
    for (int job = 0; job < jobs; job++)
        gdfast_run_team(part_of, NULL, PARTS, 2, n_bytes);
}

int main(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(gdfast_cpu(), &one);
    if (sched_setaffinity(0, sizeof(one), &one) || gdfast_allowed_cpus(1) != 1)
        return 77;
    gdfast_init_team();
    run(JOBS, 0);
    int of_short = helped;
    while (gdfast_get(&gdfast_team.sleepers) < 1)
        sched_yield();
    int64_t before = gdfast_get(&gdfast_team.wake_after);
    run(JOBS, 0);
    printf("%d helpers, %d parts of short jobs, paused %d\n", gdfast_helpers(), of_short + helped, before > 0);
    return 0;
}
