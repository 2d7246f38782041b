/*
 * smtp_data.h - message contents on the wire (RFC 5321 section 4.5.2) and in the queue (LF line ends, no dot stuffing):
 * the one place that decides about line ends, dots and over-long lines, in both directions. Both converters are
 * incremental, move memory in bulk and look at each byte once. NUL bytes are kept.
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
	SMTP_DATA_NOTE,      /* as NORMALIZE; the caller logs it when bare_lf > 0 */
	SMTP_DATA_REJECT,    /* as NORMALIZE; the caller refuses the message when bare_lf > 0 */
};

/* Receiving. Zero-filled with `mode` and `replace_cr` set is ready for the first byte. */
struct smtp_data_in {
	enum smtp_data_mode mode;
	bool replace_cr;  /* cleanup_replace_stray_cr_lf: CRs within a line become blanks */
	bool done;        /* the final dot was read */
	bool unended;     /* the last chunk ended within a line */
	uint64_t bare_lf; /* LFs without CR so far */
	uint64_t lines;   /* line ends written */

	/* private */
	int state;
	bool prev_bare_lf;
	bool
	    started; /* the line is known not to be a "From " at the beginning, or was dealt with */
	bool from_line; /* it is one: so may be the next */
	uint8_t held;   /* bytes in `first` */
	char first[16];
	size_t held_cr; /* CRs not yet written, because an LF may follow; no more than a thousand */
};

/*
 * Converts `in` and appends to `out`. Returns how many bytes of `in` were used: all, unless the end was found (then
 * d->done, and the rest of `in` is the next command). In every mode the message is read to its end, or its rest would be
 * taken for commands. Of CRs before an LF, NO drops all, the other modes drop one. The first line is special as in
 * Postfix: mbox "From " lines become "X-Mailbox-Line: " headers, and white space at the beginning of the line behind them gets
 * an empty line before it.
 */
size_t smtp_data_read(struct smtp_data_in *d, struct span in, struct buf *out);

/*
 * BDAT (RFC 3030): the same line ends, no dots and no end. Feed each chunk; with `last` an unfinished last line gets its
 * LF.
 */
void smtp_data_read_chunk(struct smtp_data_in *d, struct span in, bool last, struct buf *out);

/* Sending. Zero-filled with `line_limit` set is ready for the first byte. */
struct smtp_data_out {
	size_t line_limit; /* smtp_line_length_limit: longer lines are cut; 0: never */
	bool no_dots;      /* CRLF conversion only */
	size_t column;     /* private: bytes written in the present line */
};

/* Converts the next piece of a content: LF to CRLF, dots stuffed, long lines cut. Appends to `out`. */
void smtp_data_write(struct smtp_data_out *w, struct span content, struct buf *out);

/* Finishes an unfinished line, if there is one. */
void smtp_data_write_line_end(struct smtp_data_out *w, struct buf *out);

/* The end: finishes an unfinished line and appends ".\r\n". */
void smtp_data_write_end(struct smtp_data_out *w, struct buf *out);

#endif
