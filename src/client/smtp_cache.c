/*
 * smtp_cache.c - connections kept for the next delivery to the same nexthop (Postfix's smtp_connection_cache_on_demand): only
 * where deliveries follow each other within a second or run beside each other, and only for smtp_connection_cache_time_limit.
 */
#include "base/mem.h"
#include "client/smtp_int.h"

#define SMTP_BACK_TO_BACK CLOCK_SECOND
/* Idle connections of the whole process. */
#define SMTP_IDLE_MAX     1000

struct smtp_nexthop {
	char *name;       /* owned */
	struct list idle; /* sessions, most recently used first */
	size_t idle_count;
	size_t busy;      /* deliveries running */
	int64_t last_end; /* mono us */
	bool wanted;      /* keep connections */
};

static struct smtp_nexthop *
smtp_nexthop_get(struct smtp_state *s, const char *name)
{
	struct smtp_nexthop *n = hmap_get(&s->nexthops, span_str(name));

	if (n != NULL)
		return n;
	n = mem_new(struct smtp_nexthop);
	n->name = mem_strdup(name);
	n->last_end = -SMTP_BACK_TO_BACK;
	list_init(&n->idle);
	(void)hmap_put(&s->nexthops, span_str(name), n);
	return n;
}

static void
smtp_nexthop_put(struct smtp_state *s, struct smtp_nexthop *n)
{
	/* Remembered for the second that decides about back-to-back; a table full of old names is swept. */
	if (s->nexthops.count < 10000 || n->busy != 0 || n->idle_count != 0)
		return;
	(void)hmap_remove(&s->nexthops, span_str(n->name));
	mem_free(n->name);
	mem_free(n);
}

/* smtp_connection_cache_destinations: as in a relayhost or the part of a nexthop before its port. */
static bool
smtp_cache_is_listed(const struct smtp_state *s, const char *nexthop)
{
	struct span list = span_str(s->setup->cache_destinations);
	struct span text = span_str(nexthop);
	struct span domain = span_head(text, span_find(text, ':'));
	struct span word;

	while (span_word(&list, ", \t\r\n", &word))
		if (span_equal_nocase(word, text) || span_equal_nocase(word, domain))
			return true;
	return false;
}

void
smtp_cache_begin(struct smtp_state *s, const char *nexthop)
{
	struct smtp_nexthop *n = smtp_nexthop_get(s, nexthop);

	n->wanted = smtp_cache_is_listed(s, nexthop) ||
		    (s->setup->cache_on_demand &&
			(n->busy > 0 || clock_mono_us() - n->last_end < SMTP_BACK_TO_BACK));
	n->busy++;
}

void
smtp_cache_end(struct smtp_state *s, const char *nexthop)
{
	struct smtp_nexthop *n = smtp_nexthop_get(s, nexthop);

	n->busy--;
	n->last_end = clock_mono_us();
	smtp_nexthop_put(s, n);
}

static void
smtp_cache_unlink(struct smtp_session *session)
{
	struct smtp_nexthop *n = session->nexthop;
	struct smtp_state *s = session->state;

	list_remove(&session->node);
	task_timer_disarm(&session->expiry);
	session->nexthop = NULL;
	n->idle_count--;
	s->idle_count--;
	if (n->idle_count == 0)
		agent_report_idle(s->agent, n->name, 0);
}

struct smtp_session *
smtp_cache_take(struct smtp_state *s, const char *nexthop)
{
	struct smtp_nexthop *n = smtp_nexthop_get(s, nexthop);
	struct smtp_session *session = LIST_FIRST(&n->idle, struct smtp_session, node);

	if (session != NULL)
		smtp_cache_unlink(session);
	return session;
}

static void
smtp_cache_quit(struct smtp_session *session)
{
	smtp_session_quit(session);
	smtp_session_free(&session);
}

static void
smtp_cache_say_goodbye(void *arg)
{
	smtp_cache_quit(arg);
}

/* In a task of its own, so that nobody waits for a server that is slow to say goodbye. */
static void
smtp_cache_dismiss(struct smtp_session *session)
{
	if (session->broken || task_start("goodbye", smtp_cache_say_goodbye, session) == NULL)
		smtp_session_free(&session);
}

static void
smtp_cache_expired(void *arg)
{
	struct smtp_session *session = arg;

	smtp_cache_unlink(session);
	smtp_cache_dismiss(session);
}

/* Is it fit for further mail, and is there likely to be any? */
static bool
smtp_cache_is_worth_keeping(const struct smtp_nexthop *n, const struct smtp_session *session)
{
	const struct smtp_state *s = session->state;

	if (session->broken || session->retire || !session->greeted || s->agent->service->leaving)
		return false;
	if (session->setup != s->setup)
		return false;
	if (!(n->wanted || (s->setup->cache_on_demand && n->busy > 1)) ||
	    s->idle_count >= SMTP_IDLE_MAX)
		return false;
	if (s->setup->reuse_count != 0 && session->uses >= s->setup->reuse_count)
		return false;
	return clock_mono_us() - session->opened <= s->setup->reuse_time;
}

void
smtp_cache_give(struct smtp_state *s, const char *nexthop, struct smtp_session **session)
{
	struct smtp_nexthop *n = nexthop != NULL ? smtp_nexthop_get(s, nexthop) : NULL;
	struct smtp_session *kept = *session;

	*session = NULL;
	if (n == NULL || !smtp_cache_is_worth_keeping(n, kept) || !smtp_session_reset(kept)) {
		smtp_cache_dismiss(kept);
		return;
	}
	smtp_chat_end(kept);
	kept->nexthop = n;
	list_add_front(&n->idle, &kept->node);
	s->idle_count++;
	if (n->idle_count++ == 0)
		agent_report_idle(s->agent, n->name, 1);
	kept->expiry = (struct task_timer){.fn = smtp_cache_expired, .arg = kept};
	task_timer_arm(&kept->expiry, clock_deadline(s->setup->cache_time));
}

/* Takes every idle session out and ends it. */
static void
smtp_cache_empty(struct smtp_state *s, void (*end)(struct smtp_session *session))
{
	struct hmap_cursor cursor = {0};
	struct span key;
	void *value;

	while (hmap_next(&s->nexthops, &cursor, &key, &value)) {
		struct smtp_nexthop *n = value;

		while (!list_is_empty(&n->idle)) {
			struct smtp_session *session =
			    LIST_FIRST(&n->idle, struct smtp_session, node);

			smtp_cache_unlink(session);
			end(session);
		}
	}
}

void
smtp_cache_flush(struct smtp_state *s)
{
	smtp_cache_empty(s, smtp_cache_dismiss);
}

void
smtp_cache_close(struct smtp_state *s)
{
	smtp_cache_empty(s, smtp_cache_quit);
}
