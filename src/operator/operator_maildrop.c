/*
 * operator_maildrop.c - see operator_maildrop.h. The format is pickup's.
 */
#include "operator/operator_maildrop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/mail_queue_id.h"
#include "pickup/maildrop.h"
#include "queue/queue_content.h"
#include "service/poke.h"

#define GATHER 65536
#define PIECE  MAILDROP_PIECE_MAX

static int
open_dir(const struct conf *c)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/" MAILDROP_DIR, conf_str(c, CONF_queue_directory)) >=
	    (int)sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Opens a file that pickup could take; its name without what pickup adds is *ret_base. -1: it is none, or gone. */
static int
open_file(int dir, const char *name, struct span *ret_base, struct stat *ret)
{
	int64_t msg_id;
	int fd;

	if (!maildrop_parse_name(span_str(name), ret_base, &msg_id))
		return -1;
	fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) &&
	    (ret->st_mode & S_IXUSR) != 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* Calls fn for each finished file until it returns false. */
static void
each_file(const struct conf *c,
    bool (*fn)(
	void *arg, int dir, const char *name, struct span base, int fd, const struct stat *st),
    void *arg)
{
	int fd = open_dir(c);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	bool more = true;

	while (dir != NULL && more && (e = readdir(dir)) != NULL) {
		struct stat st;
		struct span base;
		int file = open_file(dirfd(dir), e->d_name, &base, &st);

		if (file < 0)
			continue;
		more = fn(arg, dirfd(dir), e->d_name, base, file, &st);
		(void)close(file);
	}
	if (dir != NULL)
		(void)closedir(dir);
	else if (fd >= 0)
		(void)close(fd);
}

/* ---- listing ------------------------------------------------------------------------------------------------- */

struct reading {
	void (*fn)(void *arg, const struct queue_list_row *row);
	void *arg;
	const char **ret_name; /* set while the rows of a file come; may be NULL */
	int64_t number;        /* of files: rows of one follow each other */
};

/* One message: its rows as if they came from a database. Recipients stand before the content, or (sendmail -t) behind. */
static bool
read_file(void *arg, int dir UNUSED, const char *name UNUSED, struct span base, int fd,
    const struct stat *st)
{
	struct reading *l = arg;
	struct maildrop_reader in = {.fd = fd};
	struct maildrop_record r;
	struct arena arena = {0};
	struct queue_list_row row = {
	    .place = QUEUE_INCOMING,
	    .msg_id = --l->number,
	    .sender = "",
	    .size = (uint64_t)st->st_size,
	    .arrival = (int64_t)st->st_mtime * CLOCK_SECOND,
	    .reason = "",
	    .transport = "",
	    .nexthop = "",
	};
	struct err err;

	if (l->ret_name != NULL)
		*l->ret_name = arena_dup(&arena, base);
	while (maildrop_read(&in, &r, &err) == MAILDROP_RECORD && r.type != MAILDROP_END) {
		if (r.type == MAILDROP_SENDER)
			row.sender = arena_dup(&arena, r.data);
		if (r.type != MAILDROP_RCPT)
			continue;
		row.addr = arena_dup(&arena, r.data);
		l->fn(l->arg, &row);
	}
	if (l->ret_name != NULL)
		*l->ret_name = NULL;
	maildrop_reader_done(&in);
	arena_done(&arena);
	return true;
}

void
operator_maildrop_each(
    const struct conf *c, void (*fn)(void *arg, const struct queue_list_row *row), void *arg)
{
	struct reading reading = {.fn = fn, .arg = arg};

	each_file(c, read_file, &reading);
}

struct listing {
	struct operator_list *list;
	struct buf *out;
};

static void
list_row(void *arg, const struct queue_list_row *row)
{
	struct listing *l = arg;

	operator_list_row(l->list, row, l->out);
	if (l->out->len > GATHER) {
		operator_session_print(l->out->ptr, l->out->len);
		buf_clear(l->out);
	}
}

void
operator_maildrop_list(const struct conf *c, struct operator_list *l, struct buf *out)
{
	struct listing listing = {.list = l, .out = out};
	struct reading reading = {.fn = list_row, .arg = &listing, .ret_name = &l->file};

	each_file(c, read_file, &reading);
}

struct finding {
	struct span name;
	int fd;
};

static bool
find_file(void *arg, int dir UNUSED, const char *name UNUSED, struct span base, int fd,
    const struct stat *st UNUSED)
{
	struct finding *f = arg;

	if (span_equal(base, f->name))
		f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return f->fd < 0;
}

int
operator_maildrop_open(const struct conf *c, struct span name)
{
	struct finding f = {.name = name, .fd = -1};

	each_file(c, find_file, &f);
	return f.fd;
}

/* ---- deletion ------------------------------------------------------------------------------------------------ */

struct deletion {
	const char *name;
	void (*on_removed)(const char *name);
	uint64_t count;
};

static bool
delete_file(void *arg, int dir, const char *name, struct span base, int fd UNUSED,
    const struct stat *st UNUSED)
{
	struct deletion *d = arg;
	char id[256];

	if (d->name != NULL && !span_equal_str(base, d->name))
		return true;
	(void)snprintf(id, sizeof(id), "%.*s", SPAN_ARG(base));
	if (unlinkat(dir, name, 0) != 0) {
		if (errno != ENOENT)
			log_warn("remove %s/%s: %s", MAILDROP_DIR, name, strerror(errno));
		return true;
	}
	d->count++;
	if (d->on_removed != NULL)
		d->on_removed(id);
	return d->name == NULL;
}

uint64_t
operator_maildrop_delete(
    const struct conf *c, const char *name, void (*on_removed)(const char *name))
{
	struct deletion d = {.name = name, .on_removed = on_removed};

	each_file(c, delete_file, &d);
	return d.count;
}

/* ---- requeueing ---------------------------------------------------------------------------------------------- */

/* A file in the making. */
struct drop {
	int dir;
	int fd;
	char name[MAIL_QUEUE_ID_SIZE];
	struct buf out;
};

static bool
trouble(const struct drop *d, const char *what, struct err *err)
{
	return err_set(
	    err, ERR_TEMP, "4.3.0", "%s %s/%s: %s", what, MAILDROP_DIR, d->name, strerror(errno));
}

static bool
write_out(struct drop *d, struct err *err)
{
	size_t at = 0;

	while (at < d->out.len) {
		ssize_t n = write(d->fd, d->out.ptr + at, d->out.len - at);

		if (n < 0 && errno != EINTR)
			return trouble(d, "write", err);
		at += n > 0 ? (size_t)n : 0;
	}
	buf_clear(&d->out);
	return true;
}

static void
put_number(struct drop *d, enum maildrop_type type, unsigned long long n)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%llu", n);
	maildrop_put(&d->out, type, span_str(text));
}

static void
put_rcpt(struct drop *d, const struct queue_rcpt *r, unsigned *notify)
{
	if (r->dsn_notify != *notify)
		put_number(d, MAILDROP_NOTIFY, r->dsn_notify);
	*notify = r->dsn_notify;
	if (r->orig_addr != NULL)
		maildrop_put(&d->out, MAILDROP_ORIGINAL, span_str(r->orig_addr));
	if (r->dsn_orcpt != NULL)
		maildrop_put(&d->out, MAILDROP_ORCPT, span_str(r->dsn_orcpt));
	maildrop_put(&d->out, MAILDROP_RCPT, span_str(r->addr));
}

/* The arrival is that of the requeueing, as with Postfix: its life begins anew. */
static void
put_envelope(struct drop *d, const struct queue_envelope *e)
{
	struct span envid = queue_envelope_attr(e, "envid");
	struct span ret = queue_envelope_attr(e, "ret");
	unsigned notify = 0;

	maildrop_put(&d->out, MAILDROP_VERSION, SPAN_LIT("1"));
	put_number(d, MAILDROP_TIME, (unsigned long long)clock_real_us());
	maildrop_put(&d->out, MAILDROP_OLD_ID, span_str(d->name));
	if (envid.len > 0)
		maildrop_put(&d->out, MAILDROP_ENVID, envid);
	if (ret.len > 0)
		maildrop_put(&d->out, MAILDROP_RET, ret);
	if (span_equal_str(queue_envelope_attr(e, "encoding"), "8bit"))
		maildrop_put(&d->out, MAILDROP_BODY, SPAN_LIT("8BITMIME"));
	if (span_equal_str(queue_envelope_attr(e, "rewrite_context"), "remote"))
		maildrop_put(&d->out, MAILDROP_CONTEXT, SPAN_LIT("remote"));
	maildrop_put(&d->out, MAILDROP_SENDER, span_str(e->sender));
	for (size_t i = 0; i < e->rcpt_count; i++)
		put_rcpt(d, &e->rcpts[i], &notify);
	maildrop_put(&d->out, MAILDROP_CONTENT, SPAN_LIT(""));
}

static bool
put_content(
    struct drop *d, struct db_pool *pool, const struct queue_content_ref *ref, struct err *err)
{
	struct buf piece CLEANUP(buf_done) = {0};
	uint64_t offset = 0;

	do {
		buf_clear(&piece);
		if (!queue_content_read(
			pool, ref, offset, PIECE, clock_deadline(OPERATOR_PATIENCE), &piece, err))
			return false;
		if (piece.len > 0)
			maildrop_put(&d->out, MAILDROP_PIECE, buf_span(&piece));
		if (!write_out(d, err))
			return false;
		offset += piece.len;
	} while (piece.len == PIECE);
	maildrop_put(&d->out, MAILDROP_END, SPAN_LIT(""));
	return write_out(d, err);
}

/* Durable first, then for pickup to see. It is the mail system's, as with Postfix: the Received: line names the owner. */
static bool
finish(struct drop *d, const struct conf *c, struct err *err)
{
	struct passwd pw, *owner = NULL;
	char room[16384];

	(void)getpwnam_r(conf_str(c, CONF_mail_owner), &pw, room, sizeof(room), &owner);
	if (owner != NULL && fchown(d->fd, owner->pw_uid, (gid_t)-1) != 0)
		return trouble(d, "change owner of", err);
	if (fsync(d->fd) != 0 || fchmod(d->fd, MAILDROP_FINISHED) != 0 || fsync(d->fd) != 0 ||
	    fsync(d->dir) != 0)
		return trouble(d, "write", err);
	return true;
}

/*
 * Removes a file that was cut off. Who writes it has it locked: were it taken from under him, he would still hold the message for
 * safe, and remove it from the queue.
 */
static bool
remove_unfinished(const struct drop *d, struct err *err)
{
	int fd = openat(d->dir, d->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	bool good = flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(d->dir, d->name, 0) == 0;

	if (!good)
		(void)trouble(d, "begin anew", err);
	if (fd >= 0)
		(void)close(fd);
	return good;
}

/* The name of a finished file is taken for its content: an earlier try came so far. One that was cut off is begun anew. */
static bool
create(struct drop *d, bool *ret_there, struct err *err)
{
	struct stat st;
	bool found = fstatat(d->dir, d->name, &st, AT_SYMLINK_NOFOLLOW) == 0;

	*ret_there = found && (st.st_mode & S_IXUSR) != 0;
	if (*ret_there)
		return true;
	if (found && !remove_unfinished(d, err))
		return false;
	d->fd = openat(d->dir, d->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
	    MAILDROP_UNFINISHED);
	/* Somebody may have come between the two. */
	if (d->fd < 0 || flock(d->fd, LOCK_EX | LOCK_NB) != 0 || fstat(d->fd, &st) != 0)
		return trouble(d, "create", err);
	errno = ENOENT;
	return st.st_nlink == 1 || trouble(d, "create", err);
}

static bool
requeue(struct operator_session *s, size_t shard, struct drop *d, int64_t msg_id, struct err *err)
{
	struct queue_content_ref content = {.msg_id = msg_id};
	struct db_conn *conn = operator_session_conn(s, shard, err);
	struct queue_envelope envelope;
	struct arena arena = {0};
	enum queue_place place;
	bool there = false;
	bool good;

	good = conn != NULL &&
	       queue_list_envelope(conn, msg_id, clock_deadline(OPERATOR_PATIENCE), &arena, &place,
		   &envelope, &content.content_id, &content.set, err) &&
	       create(d, &there, err);
	if (good && !there) {
		put_envelope(d, &envelope);
		good = put_content(d, operator_session_pool(s, shard), &content, err) &&
		       finish(d, operator_session_conf(s), err);
		if (!good)
			(void)unlinkat(d->dir, d->name, 0);
	}
	arena_done(&arena);
	return good;
}

bool
operator_maildrop_requeue(struct operator_session *s, size_t shard, int64_t msg_id, struct err *err)
{
	struct drop d = {.dir = open_dir(operator_session_conf(s)), .fd = -1};
	bool good;

	mail_queue_id_format(msg_id, d.name);
	if (d.dir < 0 && errno == ENOENT)
		return err_set(err, ERR_GONE, "", "there is no %s", MAILDROP_DIR);
	if (d.dir < 0)
		return trouble(&d, "open directory of", err);
	good = requeue(s, shard, &d, msg_id, err);
	if (d.fd >= 0)
		(void)close(d.fd);
	(void)close(d.dir);
	buf_done(&d.out);
	return good;
}

void
operator_maildrop_wake(const struct conf *c)
{
	struct poke poke;

	poke_init_at(&poke, conf_str(c, CONF_queue_directory), MAILDROP_SOCKET);
	poke_send(&poke);
	poke_done(&poke);
}
