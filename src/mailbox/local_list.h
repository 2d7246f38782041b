/*
 * local_list.h - the right-hand side of an alias, a line of a .forward or :include: file (aliases(5)): addresses, "|command",
 * /file/name, :include:/file/name, separated by commas. Pure.
 */
#ifndef MAILBOX_LOCAL_LIST_H
#define MAILBOX_LOCAL_LIST_H

#include "base/arena.h"
#include "base/base.h"
#include "base/span.h"

/*
 * Cuts the next member off the front of `*rest`: without quotes around a command or file name, comments and outer white space; an
 * address keeps its quotes and loses "Name <" and ">". In `arena`. NULL: nothing is left.
 */
const char *local_list_next(struct span *rest, struct arena *arena);

#endif
