/* A helper that got a seat in a job, and runs only while the job's slot is given to the next one, takes no part of that: it
 * would be carried out twice. test_team.py builds this with a team.h that calls `late` after each store to shared memory. */
static void late(void);

#include "engine/watched_team.h"

#include <stdio.h>

enum { MOST = 6 };

static gdfast_job job;
static uint64_t number; /* of the job that the late helper believes in */
static int looks, taken;

static void late(void)
{
    looks++;
    for (int k = 0; k < MOST; k++)
        taken += gdfast_take(&job.queues[k], number) >= 0;
}

static void nothing(void *context, ptrdiff_t part, ptrdiff_t member)
{
    (void)context, (void)part, (void)member;
}

int main(void)
{
    for (uint64_t members = 2; members <= MOST; members++)
        for (uint64_t parts = members; parts < 50; parts++)
            for (uint64_t next_members = 2; next_members <= MOST; next_members++)
                for (uint64_t next_parts = next_members; next_parts < 50; next_parts++) {
                    number = 0;
                    uint64_t old = gdfast_publish(&job, nothing, NULL, parts, members, 0);
                    gdfast_work(&job, old, 0);
                    number = old;
                    gdfast_publish(&job, nothing, NULL, next_parts, next_members, 0);
                }
    printf("%d looks, %d parts taken\n", looks, taken);
    return taken > 0;
}
