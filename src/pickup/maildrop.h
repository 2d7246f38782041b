/*
 * maildrop.h - a submitted message as a file in queue_directory/maildrop, and as the stream from sendmail(1) to postdrop(1). Pure
 * format: who may write what, in which order, how large.
 *
 *	file    = record...
 *	record  = type (one letter), length (decimal, 1 to 8 digits), ':', bytes, LF
 *	order   = V [T] envelope... S... (N R)... M L... (N R)... Z
 *
 *	V  "1", the version             T  arrival, real us; written by postdrop, refused from a user
 *	F  full name of the sender      S  sender, internal form; exactly one
 *	E  DSN ENVID                    D  DSN RET: "FULL" or "HDRS"
 *	B  "8BITMIME" or "7BIT"         W  "remote": rewrite context (-G)
 *	X  VERP delimiters              P  what is wanted beside delivery: "record" (-v) or "verify" (-bv)
 *	N  DSN NOTIFY bits, decimal, for the recipients that follow
 *	R  recipient, internal form     M  here the content begins
 *	L  a piece of content           Z  the end: without it the file is not complete
 *	I  queue id that the message had (postsuper -r); as T and G refused from a user
 *	G  original recipient, and      O  DSN ORCPT, "type;address", decoded: both of the next recipient
 *
 * A file NAME is finished when its owner may execute it (0744), as with Postfix. Before pickup stores the message it renames the file to
 * NAME.QUEUEID and makes the name durable: so a crash between storing and removing is told apart from one before.
 */
#ifndef PICKUP_MAILDROP_H
#define PICKUP_MAILDROP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* Longest piece of content, and longest other record. */
#define MAILDROP_PIECE_MAX 65536
#define MAILDROP_FIELD_MAX 4096

/* Below queue_directory. */
#define MAILDROP_DIR    "maildrop"
#define MAILDROP_SOCKET "public/pickup"

/* Permissions of a file in the making, and of one that pickup may take. */
#define MAILDROP_UNFINISHED 0600
#define MAILDROP_FINISHED   0744

enum maildrop_type {
	MAILDROP_VERSION = 'V',
	MAILDROP_TIME = 'T',
	MAILDROP_FULL_NAME = 'F',
	MAILDROP_SENDER = 'S',
	MAILDROP_ENVID = 'E',
	MAILDROP_RET = 'D',
	MAILDROP_BODY = 'B',
	MAILDROP_CONTEXT = 'W',
	MAILDROP_VERP = 'X',
	MAILDROP_PURPOSE = 'P',
	MAILDROP_NOTIFY = 'N',
	MAILDROP_RCPT = 'R',
	MAILDROP_CONTENT = 'M',
	MAILDROP_PIECE = 'L',
	MAILDROP_END = 'Z',
	MAILDROP_OLD_ID = 'I',
	MAILDROP_ORIGINAL = 'G',
	MAILDROP_ORCPT = 'O',
};

struct maildrop_record {
	enum maildrop_type type;
	struct span data; /* valid until the next record is read */
};

/* Appends a record. */
void maildrop_put(struct buf *out, enum maildrop_type type, struct span data);

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Zero-filled with `fd` set is ready. Reads that descriptor, which may block. */
struct maildrop_reader {
	int fd;        /* borrowed */
	struct buf in; /* private */
	size_t at;     /* private */
};
void maildrop_reader_done(struct maildrop_reader *r);

enum maildrop_result {
	MAILDROP_RECORD,
	MAILDROP_EOF, /* between two records */
	MAILDROP_BAD, /* `err`: ERR_PERM for what is no record, ERR_TEMP for trouble with reading */
};
enum maildrop_result maildrop_read(
    struct maildrop_reader *r, struct maildrop_record *ret, struct err *err) MUST_CHECK;

/* ---- what may follow what ------------------------------------------------------------------------------------ */

/* Zero-filled is ready for the first record. */
struct maildrop_check {
	bool by_user; /* a stream from a user: no records that only postdrop writes */
	int stage;    /* private */
	bool sender;
	size_t rcpts;
};

/* Is this record allowed here and well-formed? ERR_PERM. */
bool maildrop_allow(
    struct maildrop_check *c, const struct maildrop_record *r, struct err *err) MUST_CHECK;

/* Was the last record the end? */
bool maildrop_is_complete(const struct maildrop_check *c);

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* Could `name` be a file that postdrop made, with or without a queue id? Cuts it; an empty id: none yet. */
bool maildrop_parse_name(struct span name, struct span *ret_base, int64_t *ret_msg_id);

#endif
