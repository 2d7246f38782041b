/*
 * crash.h - CRASH_POINT(name): a place where tests kill the process, or stop it, to prove that nothing is lost.
 * Compiled in only with CRASHPOINTS=1; a release build contains no trace of it.
 *
 * In such a build the environment variable ROWPOST_CRASH names a file. Each line of it is "NAME ACTION [COUNT]": the
 * COUNT-th time (default 1) that any process passes point NAME, it does ACTION: kill (SIGKILL itself) or stop
 * (SIGSTOP itself), and removes its line, so that the restarted process goes on. "PROGRAM:NAME" is NAME in that program alone.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include "base/base.h"

#ifdef CRASHPOINTS
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
