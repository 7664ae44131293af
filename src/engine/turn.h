/* Who holds a lock that may outlive its holder: the id of a Python thread, and how often this process was forked by then. */
#ifndef GDFAST_TURN_H
#define GDFAST_TURN_H

#include <Python.h>

/* A long has room for both: ids are counted from 1. Where it has 32 bits there is no fork, but on rare systems. */
#define GDFAST_FORKS ((long)sizeof(long) * 4)

static long gdfast_forks = 0;       /* of this process and those it descends from */
static long gdfast_survivor = 0;    /* the Python thread that the last fork left, or 0 */

/* CPython never uses an id again, in a process and its children. */
static long gdfast_thread_id(PyThreadState *thread)
{
    return (long)PyThreadState_GetID(thread);
}

/* In the child, which has one thread: what it may read of Python is its own. */
static void gdfast_count_fork(void)
{
    PyThreadState *thread = PyGILState_GetThisThreadState();
    gdfast_survivor = thread == NULL ? 0 : gdfast_thread_id(thread);
    gdfast_forks += 1;
}

#if defined(_WIN32)
static void gdfast_watch_forks(void) { (void)gdfast_count_fork; }
#else
#include <pthread.h>
static void gdfast_watch_forks(void) { pthread_atfork(NULL, NULL, gdfast_count_fork); }
#endif

/* What the calling thread puts into a lock. */
static long gdfast_holder(void)
{
    return gdfast_forks << GDFAST_FORKS | gdfast_thread_id(PyThreadState_Get());
}

/* Whether the holder was left behind by a fork: it had the lock before the last one, and is not the thread that made it. */
static int gdfast_abandoned(long holder)
{
    return holder != 0 && gdfast_forks != 0 && holder >> GDFAST_FORKS != gdfast_forks
        && (holder & ((1L << GDFAST_FORKS) - 1)) != gdfast_survivor;
}

#endif
