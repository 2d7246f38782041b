/*
 * cleanup_int.h - a message in the making, for the files of this room.
 *
 *	in  --lines-->  headers: cleanup_header.c (checks, rewriting)  -->  content  -->  upload or the message itself
 *	                body: cleanup_mime.c (structure, checks), or unseen where nothing wants to look at it
 *
 * I1	The header section is complete in `content`, or not yet begun to be uploaded, until its end was seen.
 * I2	After the first trouble (`failed`) nothing is kept any more, and `err` stays.
 */
#ifndef CLEANUP_CLEANUP_INT_H
#define CLEANUP_CLEANUP_INT_H

#include "base/arena.h"
#include "base/hmap.h"
#include "cleanup/cleanup.h"
#include "mail/mail_header.h"
#include "mail/mail_mime.h"
#include "queue/queue_types.h"

/* What a part's headers say. */
struct cleanup_part {
	enum mail_mime_type type;
	bool is_8bit;         /* Content-Transfer-Encoding: 8bit or binary */
	const char *encoding; /* "quoted-printable" or "base64"; NULL: neither */
};

/* An open multipart. */
struct cleanup_level {
	char *boundary; /* owned */
	size_t length;
	bool digest;
};

struct mail_qp;

struct cleanup_mime {
	enum cleanup_class where; /* what the next line is part of */
	struct cleanup_part part;
	struct buf boundary;          /* of the part whose headers are being read */
	struct buf type_header;       /* its Content-Type, for the log */
	struct cleanup_level *levels; /* owned */
	size_t depth;
	uint64_t body_seen; /* bytes of this part's body, for body_checks_size_limit */
};

struct cleanup {
	const struct cleanup_settings *settings; /* borrowed */
	struct queue_front *front;               /* borrowed */
	struct cleanup_envelope envelope;
	struct queue_rcpt *rcpts; /* owned */
	size_t rcpt_count;
	struct queue_attr *expanded; /* owned: recipients that became others, to be reported */
	size_t expanded_count;
	const char *last_rcpt; /* that the front end named, for the log; NULL: none yet */
	struct arena arena;
	struct hmap dups;   /* recipients seen; the values mean nothing */
	struct buf in;      /* lines not looked at yet */
	struct buf header;  /* the header that is being read, all its lines */
	struct buf content; /* what is not uploaded yet */
	size_t counted;     /* bytes of cleanup_content() that cleanup_added() has seen */
	bool raw;           /* the rest of the body goes to `content` unseen */
	bool mid_line;      /* the last piece had no line end */
	uint64_t size;      /* with CRLF line ends, for the limit */
	size_t
	    envelope_size; /* what the size limit counts beside the content; 0: not counted yet */
	uint64_t stored_size;        /* bytes uploaded so far */
	struct queue_upload *upload; /* owned; NULL while the content is small */
	struct cleanup_mime mime;
	uint64_t
	    present; /* primary headers, and the Message-Id made here: bits (1 << enum mail_header_id) */
	unsigned received; /* how many Received: */
	bool resent;       /* a Resent- header was seen */
	bool completed;    /* the primary header section is done */
	bool header_utf8;  /* it has bytes that are not ASCII */
	bool unchecked;    /* PASS, REJECT, DISCARD or REDIRECT: no further checks */
	struct mail_qp
	    *qp; /* force_mime_input_conversion: what makes quoted-printable of it; owned */
	bool qp_left_8bit; /* text that nobody called 8-bit and is */
	bool discarded;
	const char *
	    filter; /* what the checks ask for instead of the front end; in the arena; NULL: nothing */
	const char *held;     /* in the arena; NULL: not on hold */
	const char *redirect; /* in the arena; NULL: none */
	bool
	    sender_mapped; /* envelope.sender is what canonical tables and masquerading made of it */
	bool refused;      /* by what its headers say; it has failed, or will at their end */
	bool failed;
	struct err err;
	struct err
	    why; /* it was refused: `err` then, which tables that are asked later overwrite */
	struct buf returned; /* the primary header section, when it was complete */
};

/* Nothing further is kept; c->err must have been set. */
void cleanup_fail(struct cleanup *c);

/* The same for what a look at the message finds; one that is returned fails when its headers are complete, and is checked no more. */
void cleanup_refuse(struct cleanup *c);

/* What an action of the checks asks for; texts are copied. */
void cleanup_redirect(struct cleanup *c, const char *addr);
void cleanup_filter(struct cleanup *c, const char *filter);
void cleanup_hold(struct cleanup *c, const char *why);
void cleanup_discard(struct cleanup *c);
void cleanup_add_bcc(struct cleanup *c, const char *addr);

/* ---- cleanup_header.c ------------------------------------------------------------------------------------------ */

/* A header of the section `where` is complete in c->header: checks it and copies what becomes of it to c->content. */
void cleanup_header_take(struct cleanup *c);

/* The primary section has ended: what is missing is added. `blank`: an empty line follows in any case. */
void cleanup_header_end(struct cleanup *c, bool blank);

/* ---- cleanup_mime.c -------------------------------------------------------------------------------------------- */

/* The next line, LF included, or a piece of one: `starts` and `ends` tell which. */
void cleanup_mime_line(struct cleanup *c, struct span piece, bool starts, bool ends);

/* Notes what this header says about its part's structure. */
void cleanup_mime_header(struct cleanup *c, const struct mail_header *header);

/* The end of the content. */
void cleanup_mime_finish(struct cleanup *c);
void cleanup_mime_done(struct cleanup_mime *m);

/* ---- cleanup_check.c ------------------------------------------------------------------------------------------- */

enum cleanup_verdict {
	CLEANUP_KEEP,
	CLEANUP_DROP,
	CLEANUP_REPLACE, /* `ret` has the text instead, without line end */
};

/*
 * Asks the table of `where` about a header (unfolded lines, without the last LF) or a body line, and does what it says. What is
 * to be put before it goes to `prepend`, with line end. May wait.
 */
enum cleanup_verdict cleanup_check(struct cleanup *c, enum cleanup_class where, struct span text,
    struct buf *prepend, struct buf *ret);

/* "reject: mime-error ..." and 550 5.6.0. */
void cleanup_check_refuse_mime(struct cleanup *c, const char *why, struct span text);

/* message_reject_characters: logs and refuses. */
void cleanup_check_refuse_characters(struct cleanup *c, struct span text);

/* "local", or NAME[ADDRESS]. */
void cleanup_check_origin(const struct cleanup *c, struct buf *ret);

/* ---- cleanup_map.c --------------------------------------------------------------------------------------------- */

/* Brings the envelope sender through the tables, once; a header that is made of it must wait for that. May wait. */
void cleanup_map_sender(struct cleanup *c);

/* The recipients as the tables have them: canonical, copies, virtual aliases. May wait. */
void cleanup_map_rcpts(struct cleanup *c);

/* ---- cleanup_rewrite.c ----------------------------------------------------------------------------------------- */

/* The header's addresses in standard form. False: nothing changed, `ret` is untouched; else the new header with line end. */
bool cleanup_rewrite_header(struct cleanup *c, const struct mail_header *header, struct buf *ret);

/* Are headers of this message rewritten at all? */
bool cleanup_rewrite_wanted(const struct cleanup *c);

#endif
