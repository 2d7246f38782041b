/*
 * table_scan.h - a message as lookup keys: what postmap -h and -b ask of header and body checks. Headers are keys with all their
 * lines; body lines are keys one by one.
 */
#ifndef OPERATOR_TABLE_SCAN_H
#define OPERATOR_TABLE_SCAN_H

#include "base/base.h"
#include "base/span.h"

struct table_scan {
	bool headers; /* -h: header fields are keys */
	bool body;    /* -b: body lines are keys */
	bool
	    mime; /* -m: also the headers of parts and of attached messages; these are no body lines then */
	void (*key)(void *arg, struct span key);
	void *arg;
};

/* Calls scan->key for each key of `message` (LF line ends). */
void table_scan(const struct table_scan *scan, struct span message);

#endif
