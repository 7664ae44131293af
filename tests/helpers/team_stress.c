/* Many callers with many small jobs on one team: every part of every job is done once, by a member that no other thread is
 * meanwhile, and nothing of a job is touched after it is over. Built with a sanitizer by test_team.py. */
#include "engine/team.h"

#include <stdio.h>
#include <stdlib.h>

enum { CALLERS = 12, JOBS = 3000, MOST_PARTS = 70, MOST_THREADS = 6 };

typedef struct {
    int done[MOST_PARTS];
    int busy[MOST_THREADS];
    int wrong;
} work;

static int helped; /* parts that were not done by their caller */

static void part_of(void *context, ptrdiff_t part, ptrdiff_t member)
{
    work *mine = context;
    if (member >= MOST_THREADS || __atomic_exchange_n(&mine->busy[member], 1, __ATOMIC_RELAXED))
        __atomic_store_n(&mine->wrong, 1, __ATOMIC_RELAXED);
    mine->done[part]++;
    if (member > 0)
        __atomic_add_fetch(&helped, 1, __ATOMIC_RELAXED);
    for (volatile int i = 0; i < 200; i++)
        ;
    __atomic_store_n(&mine->busy[member], 0, __ATOMIC_RELAXED);
}

static void *caller(void *seed)
{
    unsigned state = (unsigned)(size_t)seed;
    for (int job = 0; job < JOBS; job++) {
        int parts = 1 + rand_r(&state) % MOST_PARTS, threads = 2 + rand_r(&state) % (MOST_THREADS - 1);
        ptrdiff_t n_bytes = rand_r(&state) % 2 ? 0 : 1 << 30;
        work mine = {{0}, {0}, 0};
        gdfast_run_team(part_of, &mine, parts, threads, n_bytes);
        for (int part = 0; part < MOST_PARTS; part++)
            if (mine.done[part] != (part < parts))
                mine.wrong = 1;
        if (mine.wrong) {
            fprintf(stderr, "job %d of caller %zu: wrong\n", job, (size_t)seed);
            exit(1);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t callers[CALLERS];
    gdfast_init_team();
    for (size_t i = 0; i < CALLERS; i++)
        pthread_create(&callers[i], NULL, caller, (void *)(i + 1));
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    printf("%d helpers did %d parts\n", gdfast_helpers(), helped);
    return 0;
}
