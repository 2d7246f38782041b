/*
 * smtp_data.h - message contents on the wire (RFC 5321 section 4.5.2) and in the queue (LF line ends, no dot stuffing):
 * the one place that decides about line ends, dots and over-long lines, in both directions. Both converters are
 * incremental, move memory in bulk and look at each byte once. NUL bytes and CRs inside a line are kept.
 */
#ifndef SMTP_SMTP_DATA_H
#define SMTP_SMTP_DATA_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* smtpd_forbid_bare_newline: what an LF without CR means in DATA (SMTP smuggling). */
enum smtp_data_mode {
	SMTP_DATA_NORMALIZE, /* a line end, but "." ends the message only between CRLFs */
	SMTP_DATA_NO,        /* a line end like CRLF, in every respect */
	SMTP_DATA_NOTE,      /* as NORMALIZE, and the caller logs it (bare_lf > 0) */
	SMTP_DATA_REJECT,    /* the caller refuses the message and drops the client */
};

/* Receiving after DATA. Zero-filled (mode set) is ready for the first byte. */
struct smtp_data_in {
	enum smtp_data_mode mode;
	bool done;        /* the final dot was read */
	uint64_t bare_lf; /* LFs without CR so far, that of the final line included */
	uint64_t lines;   /* line ends written */
	int state;        /* private from here */
	bool prev_bare_lf;
	bool text;
};

/*
 * Converts `in` and appends to `out`. Returns how many bytes of `in` were used: all, unless the end was found (then
 * d->done; the rest of `in` is the next command), or mode is REJECT and a bare LF was seen (d->bare_lf > 0: stop).
 * First line: an mbox "From " line becomes an "X-Mailbox-Line: " header, and white space at its beginning gets an empty
 * line before it, as in Postfix.
 */
size_t smtp_data_read(struct smtp_data_in *d, struct span in, struct buf *out);

/*
 * BDAT (RFC 3030): no dots; the same line ends. Feed each chunk; with `last` an unfinished last line gets its LF.
 */
void smtp_data_read_chunk(struct smtp_data_in *d, struct span in, bool last, struct buf *out);

/* Sending. Zero-filled (limit set) is ready for the first byte. */
struct smtp_data_out {
	size_t
	    line_limit; /* smtp_line_length_limit: longer lines are cut by CR LF SPACE; 0 = never */
	size_t column;  /* private: bytes in the present line */
	bool
	    no_dots; /* plain CRLF conversion without dot stuffing (LMTP and SMTP both stuff; BDAT would not) */
};

/* Converts the next piece of a content: LF to CRLF, dots stuffed, long lines cut. Appends to `out`. */
void smtp_data_write(struct smtp_data_out *w, struct span content, struct buf *out);

/* The end: finishes an unfinished line and appends ".\r\n". */
void smtp_data_write_end(struct smtp_data_out *w, struct buf *out);

#endif
