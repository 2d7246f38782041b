/*
 * table_tcp.h - the lines of the protocol of tcp tables, tcp_table(5).
 */
#ifndef BACKEND_TABLE_TCP_H
#define BACKEND_TABLE_TCP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

enum table_tcp_answer {
	TABLE_TCP_FOUND,
	TABLE_TCP_NOT_FOUND,
	TABLE_TCP_ERROR,     /* 400: ask again later */
	TABLE_TCP_BAD_CODE,  /* another code */
	TABLE_TCP_MALFORMED, /* no code and text, or a % without two digits */
};

/* Appends `text` with %XX for each byte that is white space, a %, or cannot be printed. */
void table_tcp_quote(struct buf *out, struct span text);

/* Reads an answer, a line without its end; `text` becomes what goes with the code, decoded. */
enum table_tcp_answer table_tcp_answer(struct span line, struct buf *text);

#endif
