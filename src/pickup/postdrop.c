/*
 * postdrop.c - see postdrop.h. The user is whoever called us, with whatever on the three standard descriptors; all that
 * is taken from him is a stream of checked records.
 */
#include "pickup/postdrop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "pickup/maildrop.h"
#include "pickup/submit_conf.h"
#include "service/poke.h"

/* Written out when so much has gathered. */
#define WRITE_SIZE 65536

struct drop {
	struct conf *conf;
	const char *login;
	unsigned uid;
	int fd;
	struct buf out;   /* not written yet */
	uint64_t written; /* bytes of the file, `out` included */
	uint64_t limit;   /* 0: none */
};

/* For the signal handler: the file that is not finished; empty when there is none. */
static char unfinished[sizeof(MAILDROP_DIR) + 40];

static void
forget_file(void)
{
	if (unfinished[0] != '\0')
		(void)unlink(unfinished);
	unfinished[0] = '\0';
}

static void
on_signal(int signo UNUSED)
{
	forget_file();
	_exit(2);
}

static void
catch_signals(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	/* One that is ignored, as by nohup(1), stays so. */
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		if (signal(signals[i], SIG_IGN) != SIG_IGN)
			(void)signal(signals[i], on_signal);
}

/* Whatever a caller closed must not become our file. */
static void
open_standard_fds(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(EX_OSERR);
}

static void
create_file(struct drop *d)
{
	do {
		(void)snprintf(unfinished, sizeof(unfinished), "%s/%llX%08X", MAILDROP_DIR,
		    (unsigned long long)clock_real_us(), (unsigned)random_u64());
		d->fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		    MAILDROP_UNFINISHED);
	} while (d->fd < 0 && errno == EEXIST);
	if (d->fd >= 0)
		return;
	unfinished[0] = '\0';
	log_fatal(EX_TEMPFAIL, "create file in %s: %s", MAILDROP_DIR, strerror(errno));
}

static bool
write_out(struct drop *d)
{
	size_t at = 0;

	while (at < d->out.len) {
		ssize_t n = write(d->fd, d->out.ptr + at, d->out.len - at);

		if (n < 0 && errno != EINTR)
			return false;
		at += n > 0 ? (size_t)n : 0;
	}
	buf_clear(&d->out);
	return true;
}

/* False with errno. */
static bool
add(struct drop *d, const struct maildrop_record *r)
{
	size_t before = d->out.len;

	maildrop_put(&d->out, r->type, r->data);
	d->written += d->out.len - before;
	if (d->limit != 0 && d->written > d->limit) {
		errno = EFBIG;
		return false;
	}
	return d->out.len < WRITE_SIZE || write_out(d);
}

/* Whose address is it? */
static void
check_sender(const struct drop *d, struct span sender)
{
	bool allowed;
	struct err err;

	if (!submit_conf_allows_sender(d->conf, d->uid, d->login, sender, &allowed, &err)) {
		forget_file();
		log_fatal(EX_TEMPFAIL, "uid=%u: local_login_sender_maps: %s", d->uid, err.text);
	}
	if (allowed)
		return;
	forget_file();
	log_fatal(EX_NOPERM, "uid=%u: Sender address <%.*s> not owned by user %s", d->uid,
	    SPAN_ARG(sender), d->login);
}

static bool
add_time(struct drop *d)
{
	char text[32];
	struct maildrop_record r = {.type = MAILDROP_TIME};

	(void)snprintf(text, sizeof(text), "%lld", (long long)clock_real_us());
	r.data = span_str(text);
	return add(d, &r);
}

/* Durable first, then visible to pickup. */
static bool
finish_file(struct drop *d)
{
	bool good = write_out(d) && fsync(d->fd) == 0 && fchmod(d->fd, MAILDROP_FINISHED) == 0 &&
		    fsync(d->fd) == 0;

	return close(d->fd) == 0 && good;
}

/* The next record that a user may send here; false at an early end. */
static bool
next(struct drop *d, struct maildrop_reader *in, struct maildrop_check *check,
    struct maildrop_record *ret)
{
	struct err err;

	switch (maildrop_read(in, ret, &err)) {
	case MAILDROP_RECORD:
		break;
	case MAILDROP_EOF:
		return false;
	case MAILDROP_BAD:
		forget_file();
		log_fatal(1, "uid=%u: malformed input", d->uid);
	}
	if (maildrop_allow(check, ret, &err))
		return true;
	forget_file();
	log_fatal(1, "uid=%u: %s", d->uid, err.text);
}

/* Copies the message. POSTDROP_OK: all is in the file. Exits when the submission was cancelled. */
static bool
copy(struct drop *d)
{
	struct maildrop_check check = {.by_user = true};
	struct maildrop_reader in = {.fd = STDIN_FILENO};
	struct maildrop_record record;
	bool good = true;
	int error = 0;

	while (!maildrop_is_complete(&check)) {
		if (!next(d, &in, &check, &record)) {
			forget_file();
			exit(EX_OK);
		}
		if (record.type == MAILDROP_SENDER)
			check_sender(d, record.data);
		/* After trouble the rest is still read: whoever writes it waits for our answer. */
		good = good && add(d, &record) && (record.type != MAILDROP_VERSION || add_time(d));
		if (!good && error == 0)
			error = errno;
	}
	maildrop_reader_done(&in);
	errno = error;
	return good;
}

static void
report(enum postdrop_status status, const char *text)
{
	(void)printf("%d %s\n", (int)status, text);
	(void)fflush(stdout);
}

static void
wake_pickup(const struct conf *conf)
{
	struct poke poke;

	poke_init_at(&poke, conf_str(conf, CONF_queue_directory), MAILDROP_SOCKET);
	poke_send(&poke);
	poke_done(&poke);
}

static int
drop_message(struct conf *conf, unsigned uid, const char *login)
{
	struct drop d = {.conf = conf,
	    .login = login,
	    .uid = uid,
	    .limit = conf_size(conf, CONF_message_size_limit)};
	char name[sizeof(unfinished)];

	catch_signals();
	create_file(&d);
	if (!copy(&d) || !finish_file(&d)) {
		int error = errno;

		forget_file();
		log_warn("uid=%u: %s", uid, strerror(error));
		report(error == EFBIG ? POSTDROP_TOO_LARGE : POSTDROP_WRITE_ERROR, strerror(error));
		return EX_OK;
	}
	/* From here on it is pickup's, whatever signal comes. */
	(void)snprintf(name, sizeof(name), "%s", unfinished + sizeof(MAILDROP_DIR));
	unfinished[0] = '\0';
	buf_done(&d.out);
	wake_pickup(conf);
	report(POSTDROP_OK, name);
	return EX_OK;
}

int
postdrop_main(int argc, char **argv)
{
	struct buf name CLEANUP(buf_done) = {0};
	const char *dir = NULL;
	unsigned uid = getuid();
	struct conf *conf;
	int option, verbose = 0, status;
	bool allowed;
	struct err err;

	open_standard_fds();
	log_setup(&(struct log_settings){.tag = "postdrop", .fd = -1, .also_stderr = true});
	while ((option = getopt(argc, argv, "+c:rv")) != -1) {
		if (option == 'c')
			dir = optarg;
		else if (option == 'v')
			verbose++;
		else if (option != 'r')
			log_fatal(1, "usage: postdrop [-c config_dir] [-v]");
	}
	(void)umask(077);
	conf = submit_conf_start("postdrop", dir, uid == 0 ? verbose : 0, EX_TEMPFAIL);
	if (!submit_conf_allows(conf, uid, &name, &allowed, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	if (!allowed)
		log_fatal(
		    EX_NOPERM, "User %s(%u) is not allowed to submit mail", buf_str(&name), uid);
	status = drop_message(conf, uid, buf_str(&name));
	conf_unref(&conf);
	return status;
}
