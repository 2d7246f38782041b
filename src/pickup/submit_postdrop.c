/*
 * submit_postdrop.c - see submit_postdrop.h.
 */
#include "pickup/submit_postdrop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "mail/mail_addr.h"
#include "pickup/submit_conf.h"
#include "queue/queue_types.h"

#define WRITE_SIZE 65536

NO_RETURN static void
become_postdrop(const char *const argv[], const int in[2], const int out[2])
{
	(void)dup2(in[0], STDIN_FILENO);
	(void)dup2(out[1], STDOUT_FILENO);
	for (int i = 0; i < 2; i++) {
		(void)close(in[i]);
		(void)close(out[i]);
	}
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	log_fatal(EX_UNAVAILABLE, "execute %s: %s", argv[0], strerror(errno));
}

bool
submit_postdrop_start(struct submit_postdrop *p, const struct conf *conf, struct err *err)
{
	struct buf path CLEANUP(buf_done) = {0};
	const char *argv[] = {NULL, "-c", conf_dir(conf), "-r", NULL};
	int in[2], out[2];

	*p = (struct submit_postdrop){.to = -1, .from = -1};
	if (!submit_conf_program("postdrop", &path, err))
		return false;
	argv[0] = buf_str(&path);
	if (pipe(in) != 0 || pipe(out) != 0 || (p->pid = fork()) < 0)
		return err_set(
		    err, ERR_TEMP, "4.3.0", "unable to execute %s: %s", argv[0], strerror(errno));
	if (p->pid == 0)
		become_postdrop(argv, in, out);
	(void)close(in[0]);
	(void)close(out[1]);
	p->to = in[1];
	p->from = out[0];
	return true;
}

static void
write_out(struct submit_postdrop *p)
{
	size_t at = 0;

	while (at < p->out.len && !p->broken) {
		ssize_t n = write(p->to, p->out.ptr + at, p->out.len - at);

		if (n < 0 && errno != EINTR)
			p->broken = true;
		at += n > 0 ? (size_t)n : 0;
	}
	buf_clear(&p->out);
}

void
submit_postdrop_put(struct submit_postdrop *p, enum maildrop_type type, struct span data)
{
	maildrop_put(&p->out, type, data);
	if (p->out.len >= WRITE_SIZE)
		write_out(p);
}

void
submit_postdrop_put_str(struct submit_postdrop *p, enum maildrop_type type, const char *text)
{
	if (text != NULL)
		submit_postdrop_put(p, type, span_str(text));
}

static void
put_notify(struct submit_postdrop *p, unsigned notify)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", notify);
	submit_postdrop_put_str(p, MAILDROP_NOTIFY, text);
}

void
submit_postdrop_put_notify(struct submit_postdrop *p, unsigned notify)
{
	if (notify != 0)
		put_notify(p, notify);
}

/* What postdrop says; "" when it says nothing. */
static void
read_answer(struct submit_postdrop *p, char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size) {
		ssize_t n = read(p->from, line + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	line[len] = '\0';
}

enum postdrop_status
submit_postdrop_finish(struct submit_postdrop *p)
{
	char answer[256];
	int status = 0;

	submit_postdrop_put(p, MAILDROP_END, (struct span){0});
	write_out(p);
	(void)close(p->to);
	p->to = -1;
	read_answer(p, answer, sizeof(answer));
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	p->pid = 0;
	if (answer[0] == '0' + POSTDROP_OK && status == 0)
		return POSTDROP_OK;
	return answer[0] == '0' + POSTDROP_TOO_LARGE ? POSTDROP_TOO_LARGE : POSTDROP_WRITE_ERROR;
}

void
submit_postdrop_done(struct submit_postdrop *p)
{
	if (p->to >= 0)
		(void)close(p->to);
	if (p->from >= 0)
		(void)close(p->from);
	p->to = p->from = -1;
	buf_done(&p->out);
}

/* ---- a whole message --------------------------------------------------------------------------------------------- */

/* What the client called it. */
static void
put_orcpt(struct submit_postdrop *p, const struct queue_rcpt *r)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (r->dsn_orcpt != NULL) {
		submit_postdrop_put_str(p, MAILDROP_ORCPT, r->dsn_orcpt);
		return;
	}
	buf_add_str(&text, "rfc822;");
	mail_addr_quote(&text, span_str(r->orig_addr != NULL ? r->orig_addr : r->addr));
	submit_postdrop_put(p, MAILDROP_ORCPT, buf_span(&text));
}

static void
put_message(struct submit_postdrop *p, const struct queue_message *m)
{
	const struct queue_envelope *e = &m->envelope;
	struct span content = m->content;
	unsigned notify = 0;

	submit_postdrop_put_str(p, MAILDROP_VERSION, "1");
	submit_postdrop_put_str(p, MAILDROP_SENDER, e->sender);
	if (span_equal_str(queue_envelope_attr(e, "encoding"), "8bit"))
		submit_postdrop_put_str(p, MAILDROP_BODY, "8BITMIME");
	if (queue_envelope_attr(e, "envid").len != 0)
		submit_postdrop_put(p, MAILDROP_ENVID, queue_envelope_attr(e, "envid"));
	if (queue_envelope_attr(e, "ret").len != 0)
		submit_postdrop_put(p, MAILDROP_RET, queue_envelope_attr(e, "ret"));
	for (size_t i = 0; i < e->rcpt_count; i++) {
		/* It holds for the recipients that follow: 0 ends it. */
		if (e->rcpts[i].dsn_notify != notify)
			put_notify(p, notify = e->rcpts[i].dsn_notify);
		put_orcpt(p, &e->rcpts[i]);
		submit_postdrop_put_str(p, MAILDROP_RCPT, e->rcpts[i].addr);
	}
	submit_postdrop_put(p, MAILDROP_CONTENT, (struct span){0});
	for (; content.len != 0; content = span_from(content, MAILDROP_PIECE_MAX))
		submit_postdrop_put(p, MAILDROP_PIECE, span_head(content, MAILDROP_PIECE_MAX));
}

bool
submit_postdrop_message(void *arg, const struct queue_message *m, struct err *err)
{
	struct submit_postdrop p;
	enum postdrop_status status;

	if (!submit_postdrop_start(&p, arg, err))
		return false;
	put_message(&p, m);
	status = submit_postdrop_finish(&p);
	submit_postdrop_done(&p);
	if (status == POSTDROP_OK)
		return true;
	if (status == POSTDROP_TOO_LARGE)
		return err_set_smtp(err, ERR_PERM, 552, "5.3.4", "Error: message file too big");
	return err_set(err, ERR_TEMP, "4.3.0", "Error: queue file write error");
}
