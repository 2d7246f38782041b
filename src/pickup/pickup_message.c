/*
 * pickup_message.c - from a file in maildrop to a queued message, exactly one.
 *
 * NAME  ->  NAME.ID, durable  ->  stored under ID  ->  removed. A file that is found with an id may be stored already: the
 * queue is asked (queue_known.h). Mail that is refused for good goes back to its sender the same way, as a bounce under an id
 * of its own: NAME.ID -> NAME.BOUNCEID, and the rest is the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_addr.h"
#include "mail/mail_header.h"
#include "mail/mail_log.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "pickup/maildrop.h"
#include "pickup/pickup_int.h"
#include "queue/queue_front.h"
#include "queue/queue_known.h"
#include "task/task.h"

#define STORE_TIMEOUT   (120 * CLOCK_SECOND)
#define UNFINISHED_KEPT 86400 /* seconds: who would still be writing? */

struct message {
	const struct pickup_setup *setup;
	struct cleanup_front *fronts;
	struct queue_front *front; /* the one of them that minted the id */
	struct pickup_dir *dir;
	char name[128]; /* now */
	struct span base;
	int fd;
	struct stat st;
	bool begun;      /* some of the user's content was read */
	bool replace_cr; /* cleanup_replace_stray_cr_lf */
	bool is_old;     /* the name had an id: an earlier process was at it */
	int64_t msg_id;
	char queue_id[MAIL_QUEUE_ID_SIZE];
	struct arena arena;
	struct maildrop_check check;
	struct cleanup *cleanup;
	struct queue_rcpt *rcpts; /* owned; as handed to cleanup, for a bounce */
	size_t rcpt_count;
	unsigned notify;      /* for the recipients that follow */
	const char *old_id;   /* requeued: what it was called before; NULL: new */
	const char *original; /* of the next recipient; NULL: as it is */
	const char *orcpt;
	struct buf head; /* the content as submitted, as far as a bounce would return it */
	uint64_t size;
	struct err err;
};

/* ---- the file -------------------------------------------------------------------------------------------------- */

static enum pickup_done
drop_file(const struct message *m)
{
	if (unlinkat(m->dir->fd, m->name, 0) != 0 && errno != ENOENT) {
		log_warn("remove %s/%s: %s", MAILDROP_DIR, m->name, strerror(errno));
		return PICKUP_AGAIN;
	}
	return PICKUP_DONE;
}

/* One that nobody finished: a submission that was cut off. */
static enum pickup_done
judge_unfinished(const struct message *m)
{
	if (clock_real_us() / CLOCK_SECOND - m->st.st_mtime < UNFINISHED_KEPT)
		return PICKUP_KEPT;
	log_info("remove stale file %s/%s", MAILDROP_DIR, m->name);
	return drop_file(m);
}

/* Opens and locks it: a process that is leaving may still be at it. PICKUP_DONE: go on. */
static enum pickup_done
open_file(struct message *m)
{
	m->fd = openat(m->dir->fd, m->name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (m->fd < 0 && (errno == ENOENT || errno == EACCES))
		return PICKUP_KEPT; /* gone, or still being written: nobody else may read it then */
	if (m->fd < 0 && errno == ELOOP) {
		log_warn("%s/%s: symbolic link", MAILDROP_DIR, m->name);
		return PICKUP_KEPT;
	}
	if (m->fd < 0 || fstat(m->fd, &m->st) != 0) {
		log_warn("open %s/%s: %s", MAILDROP_DIR, m->name, strerror(errno));
		return PICKUP_AGAIN;
	}
	if (!S_ISREG(m->st.st_mode)) {
		log_warn("%s/%s: uid %u: not a regular file", MAILDROP_DIR, m->name,
		    (unsigned)m->st.st_uid);
		return PICKUP_KEPT;
	}
	if ((m->st.st_mode & S_IXUSR) == 0)
		return judge_unfinished(m);
	if (flock(m->fd, LOCK_EX | LOCK_NB) != 0 || fstat(m->fd, &m->st) != 0)
		return PICKUP_KEPT;
	return m->st.st_nlink == 1 ? PICKUP_DONE : PICKUP_KEPT;
}

/* Makes sure that the directory's renames so far survive a power failure; many tasks share one fsync(). */
static bool
sync_dir(struct pickup_dir *dir)
{
	uint64_t mine = ++dir->renamed;

	(void)task_yield();
	if (dir->synced >= mine)
		return true;
	if (fsync(dir->fd) != 0)
		return false;
	dir->synced = dir->renamed;
	return true;
}

/* Gives the message an id that outlives this process. */
static bool
name_file(struct message *m)
{
	char name[sizeof(m->name)];

	if (m->front == NULL)
		m->front = cleanup_front_pick(m->fronts, &m->err);
	if (m->front == NULL || !queue_front_mint(m->front, &m->msg_id, &m->err))
		return false;
	mail_queue_id_format(m->msg_id, m->queue_id);
	if (snprintf(name, sizeof(name), "%.*s.%s", SPAN_ARG(m->base), m->queue_id) >=
	    (int)sizeof(name))
		return err_set(&m->err, ERR_PERM, "5.6.0", "name too long");
	if (renameat(m->dir->fd, m->name, m->dir->fd, name) != 0 || !sync_dir(m->dir))
		return err_set(&m->err, ERR_TEMP, "4.3.0", "rename %s/%s: %s", MAILDROP_DIR,
		    m->name, strerror(errno));
	memcpy(m->name, name, sizeof(name));
	m->base.ptr = m->name;
	CRASH_POINT("pickup-named");
	return true;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

static void
log_pickup(const struct message *m, const char *sender)
{
	struct buf line CLEANUP(buf_done) = {0};

	mail_log_pickup(&line, m->queue_id, m->st.st_uid, sender, m->old_id);
	log_info("%s", buf_str(&line));
}

static void
take_sender(struct message *m, struct span sender)
{
	const char *given = arena_dup(&m->arena, sender);

	cleanup_envelope(m->cleanup)->sender =
	    sender.len != 0 ? rewrite_address(m->setup->rewrite, &m->arena, sender) : "";
	log_pickup(m, given);
}

static void
take_rcpt(struct message *m, struct span rcpt)
{
	const char *given = m->original != NULL ? m->original : arena_dup(&m->arena, rcpt);
	const char *addr = rewrite_address(m->setup->rewrite, &m->arena, rcpt);

	/* An address that needs quotes is named without them, as Postfix does; a bare name with the domain that makes it an address. */
	if (m->orcpt == NULL && mail_addr_needs_quotes(mail_addr_split(span_str(given)).local))
		m->orcpt = arena_printf(&m->arena, "rfc822;%s", given);
	else if (m->orcpt == NULL && strchr(given, '@') == NULL)
		m->orcpt = arena_printf(&m->arena, "rfc822;%s", addr);
	/* Grown by doubling; bounded by the size of the file. */
	if ((m->rcpt_count & (m->rcpt_count - 1)) == 0)
		m->rcpts = mem_resize(
		    m->rcpts, m->rcpt_count != 0 ? m->rcpt_count * 2 : 1, sizeof(*m->rcpts));
	m->rcpts[m->rcpt_count++] =
	    (struct queue_rcpt){.addr = addr, .orig_addr = given, .dsn_notify = m->notify};
	cleanup_add_rcpt(m->cleanup, addr, given, m->orcpt, m->notify);
	m->original = m->orcpt = NULL;
}

static void
add_content(struct message *m, struct span piece)
{
	size_t room = m->setup->bounce.size_limit + 1;

	struct buf *content = cleanup_content(m->cleanup);
	size_t from = content->len;

	m->size += piece.len;
	buf_add_span(&m->head, span_head(piece, room - MIN(room, m->head.len)));
	buf_add_span(content, piece);
	/* As smtpd does with what comes by SMTP: no CR may look like a line end to anybody. */
	for (size_t i = from; m->replace_cr && i < content->len; i++)
		if (content->ptr[i] == '\r')
			content->ptr[i] = ' ';
	cleanup_added(m->cleanup);
	(void)task_yield();
}

static void
begin_content(struct message *m)
{
	struct cleanup_envelope *e = cleanup_envelope(m->cleanup);
	struct buf text CLEANUP(buf_done) = {0};

	mail_received_write_local(&text, m->setup->cleanup.hostname, m->setup->cleanup.mail_name,
	    m->st.st_uid, m->queue_id, e->arrival / CLOCK_SECOND);
	add_content(m, buf_span(&text));
}

static uint64_t
number_of(struct span data)
{
	uint64_t n = 0;

	(void)!span_number(data, INT64_MAX, &n);
	return n;
}

/* No mail comes before clocks begin, or tomorrow: such a time would be in the way of all that is reckoned from it. */
static void
take_time(struct cleanup_envelope *e, int64_t at)
{
	if (at > 0 && at < e->arrival)
		e->arrival = at;
}

static void
take_record(struct message *m, const struct maildrop_record *r)
{
	struct cleanup_envelope *e = cleanup_envelope(m->cleanup);

	switch (r->type) {
	case MAILDROP_TIME:
		take_time(e, (int64_t)number_of(r->data));
		break;
	case MAILDROP_FULL_NAME:
		e->full_name = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_SENDER:
		take_sender(m, r->data);
		break;
	case MAILDROP_ENVID:
		e->envid = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_RET:
		e->ret = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_BODY:
		e->body_8bit = span_equal_str(r->data, "8BITMIME");
		e->body_7bit = !e->body_8bit;
		break;
	case MAILDROP_CONTEXT:
		e->complete_headers = false;
		break;
	case MAILDROP_VERP:
		e->verp = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_PURPOSE:
		e->trace = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_NOTIFY:
		m->notify = (unsigned)number_of(r->data);
		break;
	case MAILDROP_RCPT:
		take_rcpt(m, r->data);
		break;
	case MAILDROP_CONTENT:
		begin_content(m);
		break;
	case MAILDROP_PIECE:
		/* White space on top must not continue our Received: line. */
		if (!m->begun && r->data.len != 0 &&
		    (r->data.ptr[0] == ' ' || r->data.ptr[0] == '\t'))
			add_content(m, SPAN_LIT("\n"));
		m->begun = true;
		add_content(m, r->data);
		break;
	case MAILDROP_OLD_ID:
		m->old_id = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_ORIGINAL:
		m->original = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_ORCPT:
		m->orcpt = arena_dup(&m->arena, r->data);
		break;
	case MAILDROP_VERSION:
	case MAILDROP_END:
		break;
	}
}

static bool
read_records(struct message *m)
{
	struct maildrop_reader reader = {.fd = m->fd};
	struct maildrop_record record;
	bool good = true;

	while (good && !maildrop_is_complete(&m->check)) {
		enum maildrop_result r = maildrop_read(&reader, &record, &m->err);

		good = r == MAILDROP_RECORD && maildrop_allow(&m->check, &record, &m->err);
		if (r == MAILDROP_EOF)
			err_set(&m->err, ERR_PERM, "5.6.0", "the file ends too early");
		if (good)
			take_record(m, &record);
	}
	maildrop_reader_done(&reader);
	return good;
}

/* ---- storing --------------------------------------------------------------------------------------------------- */

static void
begin_message(struct message *m)
{
	struct cleanup_envelope *e;

	m->cleanup = cleanup_new(&m->setup->cleanup, m->front);
	e = cleanup_envelope(m->cleanup);
	e->msg_id = m->msg_id;
	e->queue_id = m->queue_id;
	e->arrival = clock_real_us();
	e->sender = "";
	m->replace_cr = conf_bool(m->setup->conf, CONF_cleanup_replace_stray_cr_lf);
	e->complete_headers = true;
	e->orcpt_as_mapped = true;
	e->local = true;
	e->returned = true;
	e->content_filter = conf_str(m->setup->conf, CONF_content_filter);
}

/*
 * Is it in the queue already, from an earlier life? All shards are asked, and have to answer: there may have been more or fewer of
 * them in that life.
 */
static bool
is_known(struct message *m, bool *ret)
{
	*ret = false;
	for (size_t i = 0; m->is_old && !*ret && i < m->fronts->shard_count; i++)
		if (!queue_known_ask(m->fronts->shards[i].front, m->msg_id,
			clock_deadline(STORE_TIMEOUT), ret, &m->err))
			return false;
	return true;
}

/* What an SMTP client would be told, without what makes it a reply. */
static const char *
reason_of(const struct err *why)
{
	static const char reply[] = "Error: ";

	return strncmp(why->text, reply, sizeof(reply) - 1) == 0 ? why->text + sizeof(reply) - 1
								 : why->text;
}

/* A line for each recipient, as for a delivery that failed. */
static void
log_refused(const struct message *m, const struct queue_bounce *bounce)
{
	int64_t now = clock_real_us();
	char queue_id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(m->msg_id, queue_id);
	for (size_t i = 0; i < bounce->notice_count; i++) {
		const struct queue_notice *n = &bounce->notices[i];
		struct buf line CLEANUP(buf_done) = {0};

		mail_log_delivery(&line, &(struct mail_log_delivery){
					     .queue_id = queue_id,
					     .recipient = n->addr,
					     .orig_recipient = n->orig_addr,
					     .relay = "none",
					     .times = {.arrival = bounce->envelope->arrival,
						 .active = now,
						 .handed = now,
						 .done = now},
					     .dsn = n->dsn,
					     .status = "bounced",
					     .text = span_str(n->text),
					 });
		log_info_as("cleanup", "%s", buf_str(&line));
	}
}

/* What goes back: with the headers that were missing, if it came as far as that, and whatever its tables made of addresses. */
static struct span
returned_content(struct message *m, bool whole)
{
	struct span headers = cleanup_returned(m->cleanup), all = buf_span(&m->head);
	struct mail_header_scan scan;
	struct buf text CLEANUP(buf_done) = {0};

	if (headers.len == 0)
		return all;
	mail_header_scan(all, &scan);
	buf_add_span(&text, headers);
	if (whole)
		buf_add_span(&text, span_from(all, scan.body));
	return (struct span){arena_dup(&m->arena, buf_span(&text)), text.len};
}

/* One for each recipient whose sender wants to hear of it; how many. */
static size_t
refusals(struct message *m, const struct err *why, struct queue_notice *ret)
{
	size_t count = 0;

	for (size_t i = 0; i < m->rcpt_count; i++) {
		const struct queue_rcpt *r = &m->rcpts[i];

		if (r->dsn_notify != 0 && (r->dsn_notify & QUEUE_NOTIFY_FAILURE) == 0)
			continue;
		ret[count++] = (struct queue_notice){
		    .rcpt_no = (int32_t)i,
		    .kind = QUEUE_NOTIFY_FAILURE,
		    .action = "failed",
		    .addr = r->addr,
		    .orig_addr = r->orig_addr,
		    .dsn_orcpt = arena_printf(&m->arena, "rfc822;%s", r->orig_addr),
		    .dsn_notify = r->dsn_notify,
		    .dsn = why->dsn,
		    .text = reason_of(why),
		    .at = clock_real_us(),
		};
	}
	return count;
}

/* Its sender is told what cleanup said; the bounce is stored in the message's place, under an id of its own. */
static bool
return_to_sender(struct message *m, const struct err *why)
{
	const struct cleanup_envelope *e = cleanup_envelope(m->cleanup);
	struct queue_notice *notices =
	    arena_alloc(&m->arena, (m->rcpt_count + 1) * sizeof(*notices));
	struct queue_message messages[QUEUE_COMPOSE_MAX] = {0};
	int64_t ids[QUEUE_COMPOSE_MAX];
	/* As with Postfix: what a check refused is not shown, only its headers go back. */
	const bool whole =
	    cleanup_is_looping(m->cleanup) && (e->ret == NULL || strcmp(e->ret, "HDRS") != 0);
	const struct queue_attr attrs[] = {
	    {SPAN_LIT("ret"), whole ? SPAN_LIT("FULL") : SPAN_LIT("HDRS")},
	    {SPAN_LIT("envid"), span_str(e->envid)},
	};
	const struct queue_envelope envelope = {.msg_id = m->msg_id,
	    .sender = e->sender,
	    .arrival = e->arrival,
	    .size = m->size,
	    .attrs = attrs,
	    .attr_count = ARRAY_LEN(attrs)};
	struct queue_bounce bounce = {
	    .envelope = &envelope,
	    .content = returned_content(m, whole),
	    .content_is_all = m->size <= m->setup->bounce.size_limit,
	    .kind = QUEUE_NOTIFY_FAILURE,
	    .notices = notices,
	};
	size_t count;

	bounce.notice_count = refusals(m, why, notices);
	log_refused(m, &bounce);
	for (size_t i = 0; i < QUEUE_COMPOSE_MAX; i++)
		ids[i] = m->msg_id;
	if (bounce.notice_count == 0)
		return true;
	/* The bounce takes over the file and its new id. */
	m->base = span_head(m->base, span_find(m->base, '.'));
	if (!name_file(m))
		return false;
	for (size_t i = 0; i < QUEUE_COMPOSE_MAX; i++)
		if (i == 0)
			ids[i] = m->msg_id;
		else if (!queue_front_mint(m->front, &ids[i], &m->err))
			return false;
	count =
	    bounce_compose(&m->setup->bounce, &bounce, ids, messages, QUEUE_COMPOSE_MAX, &m->arena);
	for (size_t i = 0; i < count; i++)
		if (!queue_front_store(
			m->front, &messages[i], clock_deadline(STORE_TIMEOUT), &m->err))
			return false;
	return true;
}

static bool
store(struct message *m)
{
	struct err why;

	begin_message(m);
	if (!read_records(m)) {
		if (m->err.kind == ERR_PERM)
			log_warn("uid=%u: %s: %s", (unsigned)m->st.st_uid, m->name, m->err.text);
		return m->err.kind == ERR_PERM;
	}
	if (m->check.rcpts == 0) {
		log_warn(
		    "%s: uid=%u: message without recipients", m->queue_id, (unsigned)m->st.st_uid);
		return true;
	}
	if (cleanup_finish(m->cleanup, &m->err))
		return true;
	if (m->err.kind != ERR_PERM)
		return false;
	why = m->err;
	return return_to_sender(m, &why);
}

static enum pickup_done
take(struct message *m)
{
	enum pickup_done opened = open_file(m);
	bool known;

	if (opened != PICKUP_DONE)
		return opened;
	if (m->msg_id != 0)
		mail_queue_id_format(m->msg_id, m->queue_id);
	else if (!name_file(m))
		return PICKUP_AGAIN;
	if (!is_known(m, &known))
		return PICKUP_AGAIN;
	if (!known && !store(m))
		return PICKUP_AGAIN;
	CRASH_POINT("pickup-stored");
	return drop_file(m);
}

enum pickup_done
pickup_message_take(const struct pickup_setup *setup, struct cleanup_front *fronts,
    struct pickup_dir *dir, const char *name)
{
	struct message m = {.setup = setup, .fronts = fronts, .dir = dir, .fd = -1};
	enum pickup_done done;

	err_clear(&m.err);
	(void)snprintf(m.name, sizeof(m.name), "%s", name);
	if (!maildrop_parse_name(span_str(m.name), &m.base, &m.msg_id))
		return PICKUP_KEPT;
	m.is_old = m.msg_id != 0;
	if (m.is_old)
		m.front = cleanup_front_of(fronts, m.msg_id);
	done = take(&m);
	if (done == PICKUP_AGAIN && m.err.kind != ERR_NONE)
		log_warn("%s/%s: %s", MAILDROP_DIR, m.name, m.err.text);
	cleanup_free(&m.cleanup);
	if (m.fd >= 0)
		(void)close(m.fd);
	mem_free(m.rcpts);
	buf_done(&m.head);
	arena_done(&m.arena);
	return done;
}
