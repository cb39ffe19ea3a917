#ifndef MOTE_TESTS_DEADLOCK_H
#define MOTE_TESTS_DEADLOCK_H

/*
 * What a test waits for has happened by then or never will: on two busy processors, ten times
 * slower than a good one and with sanitizers, too. Nothing but a deadlock is to end by it.
 */
#define DEADLOCK_SECONDS 900

#endif
