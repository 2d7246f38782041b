/*
 * table_socketmap.h - the answers of the protocol of socketmap tables, socketmap_table(5).
 */
#ifndef BACKEND_TABLE_SOCKETMAP_H
#define BACKEND_TABLE_SOCKETMAP_H

#include "base/base.h"
#include "base/span.h"

enum table_socketmap_answer {
	TABLE_SOCKETMAP_FOUND,
	TABLE_SOCKETMAP_NOT_FOUND,
	TABLE_SOCKETMAP_TEMP,
	TABLE_SOCKETMAP_TIMEOUT,
	TABLE_SOCKETMAP_PERM,
	TABLE_SOCKETMAP_UNKNOWN, /* some other word */
};

/* Reads what is in the netstring of an answer; `ret_text` is what goes with its first word. */
enum table_socketmap_answer table_socketmap_answer(struct span answer, struct span *ret_text);

#endif
