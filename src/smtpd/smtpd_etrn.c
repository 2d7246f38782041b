/*
 * smtpd_etrn.c - ETRN (RFC 1985): a host that was away asks for the mail of a domain. Only for fast_flush_domains. One request at
 * a time is worked on in the background, a few may wait: looking through a large queue is work that strangers must not pile up.
 */
#include "smtpd/smtpd_int.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "db/db.h"
#include "mail/mail_addr.h"
#include "queue/queue_order.h"

#define SMTPD_ETRN_TIMEOUT (60 * CLOCK_SECOND)

/* Domains waiting for their turn; more is work that nobody needs. */
#define SMTPD_ETRN_WAITING 16

struct smtpd_flush {
	struct smtpd_server *server;       /* outlives it: the service waits for its flushes */
	char *domains[SMTPD_ETRN_WAITING]; /* owned; the first is worked on */
	size_t count;
};

static void
smtpd_flush_shard(struct db_pool *pool, const char *domain)
{
	int64_t deadline = clock_deadline(SMTPD_ETRN_TIMEOUT);
	struct db_conn *c;
	uint64_t rows;
	struct err err;

	c = db_pool_take(pool, deadline, &err);
	if (c == NULL || !queue_order_flush_site(c, domain, deadline, &rows, &err))
		log_warn("ETRN %s: %s", domain, err.text);
	if (c != NULL)
		db_pool_give(pool, &c);
}

static void
smtpd_flush_run(void *arg)
{
	struct smtpd_flush *f = arg;
	struct cleanup_front *front = &f->server->front;

	while (f->count > 0) {
		for (size_t i = 0; i < front->shard_count && !task_is_cancelled(); i++)
			smtpd_flush_shard(front->shards[i].pool, f->domains[0]);
		poke_send_order(&front->poke);
		mem_free(f->domains[0]);
		memmove(f->domains, f->domains + 1, --f->count * sizeof(f->domains[0]));
	}
	f->server->flush = NULL;
	mem_free(f);
}

static bool
smtpd_flush_begin(struct smtpd_server *server)
{
	struct smtpd_flush *f = mem_new(struct smtpd_flush);

	f->server = server;
	server->flushing = f;
	server->flush = task_group_start(&server->flushes, "etrn", smtpd_flush_run, f);
	if (server->flush != NULL)
		return true;
	mem_free(f);
	return false;
}

/* Queues the flush of a domain; one that waits already is asked for once. False: too many wait. */
static bool
smtpd_flush_start(struct smtpd_server *server, struct span domain)
{
	if (server->flush == NULL && !smtpd_flush_begin(server))
		return false;
	for (size_t i = 1; i < server->flushing->count; i++)
		if (span_equal_nocase_str(domain, server->flushing->domains[i]))
			return true;
	if (server->flushing->count >= SMTPD_ETRN_WAITING)
		return false;
	server->flushing->domains[server->flushing->count++] = span_dup(domain);
	return true;
}

/* May the client ask now, and for this? Answers if not. `args` as given, `domain` what is meant by it, ending in NUL. */
static bool
smtpd_etrn_allowed(struct smtpd_session *s, struct span args, struct span domain)
{
	struct access_request request;

	if (s->helo == NULL && conf_bool(s->setup->conf, CONF_smtpd_helo_required)) {
		smtpd_reply(s, 503, NULL, "Error: send HELO/EHLO first");
		return false;
	}
	if (s->state >= SMTPD_STATE_MAIL) {
		smtpd_reply(s, 503, NULL, "Error: MAIL transaction in progress");
		return false;
	}
	if (args.len == 0 || span_find(args, ' ') < args.len) {
		smtpd_reply(s, 500, NULL, "Syntax: ETRN domain");
		return false;
	}
	if (!mail_addr_is_domain(domain)) {
		smtpd_reply(s, 501, NULL, "Error: invalid parameter syntax");
		return false;
	}
	smtpd_access_request(s, &request);
	request.etrn_domain = domain.ptr;
	return smtpd_access_permits(s, ACCESS_ETRN, "ETRN", &request);
}

void
smtpd_etrn(struct smtpd_session *s, struct span args)
{
	struct span domain = args = span_trim(args);
	char name[256];
	enum table_result listed;
	struct err err;

	/* RFC 1985 section 5.3: '@' in front means the domain and all below it, which here it means anyway. */
	if (span_starts(domain, "@") || span_starts(domain, "#"))
		domain = span_from(domain, 1);
	domain = span_head(domain, sizeof(name) - 1);
	memcpy(name, domain.ptr, domain.len);
	name[domain.len] = '\0';
	domain.ptr = name;
	if (!smtpd_etrn_allowed(s, args, domain))
		return;
	if (s->server->front.shard_count == 0) {
		log_warn("do not use ETRN in \"sendmail -bs\" mode");
		return smtpd_reply(s, 458, NULL, "Unable to queue messages");
	}
	listed = domain_list_has(s->setup->flush_domains, domain, &err);
	if (listed == TABLE_ERROR)
		return smtpd_reply(s, 458, NULL, "Unable to queue messages");
	if (listed == TABLE_NOT_FOUND) {
		log_warn(
		    "reject: ETRN %.100s... from %s[%s]", name, s->client_name, s->client_address);
		return smtpd_reply(s, 459, NULL, "<%s>: service unavailable", name);
	}
	if (!smtpd_flush_start(s->server, domain))
		return smtpd_reply(s, 458, NULL, "Unable to queue messages");
	smtpd_reply(s, 250, NULL, "Queuing started");
}
