/*
 * operator_order.c - see operator_order.h.
 *
 * Ids come in chunks from the command line and from standard input. For each chunk and database: look up where the messages
 * are, if that matters, give the order for those that qualify, and log them; the rest is tried in the next database.
 */
#include "operator/operator_order.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "queue/queue_find.h"
#include "queue/queue_order.h"

#define CHUNK        500
#define ALL_PATIENCE (86400 * CLOCK_SECOND)

#define PLACE(p) (1u << (p))
#define ALL_PLACES                                                                                 \
	(PLACE(QUEUE_INCOMING) | PLACE(QUEUE_ACTIVE) | PLACE(QUEUE_DEFERRED_PLACE) |               \
	    PLACE(QUEUE_HOLD))

/* clang-format off */
static const struct {
	const char *option;  /* kept with the order as its reason */
	enum queue_verb verb;
	unsigned places;
	const char *word;    /* behind the id */
	const char *total;
} actions[OPERATOR_ACTIONS] = {
	[OPERATOR_REQUEUE] = {"postsuper -r", QUEUE_VERB_REQUEUE, ALL_PLACES, "requeued", "Requeued"},
	[OPERATOR_DELETE] = {"postsuper -d", QUEUE_VERB_DELETE, ALL_PLACES, "removed", "Deleted"},
	[OPERATOR_EXPIRE] = {"postsuper -e", QUEUE_VERB_EXPIRE, ALL_PLACES, "expired", "Force-expired"},
	[OPERATOR_FINISH] = {"postsuper -f", QUEUE_VERB_EXPIRE, ALL_PLACES, "expired", "Force-expired"},
	[OPERATOR_HOLD] = {"postsuper -h", QUEUE_VERB_HOLD, ALL_PLACES & ~PLACE(QUEUE_HOLD), "placed on hold", "Placed on hold"},
	[OPERATOR_RELEASE] = {"postsuper -H", QUEUE_VERB_RELEASE, PLACE(QUEUE_HOLD), "released from hold", "Released from hold"},
};
/* clang-format on */

/* Message queues, and what Postfix keeps in queue directories besides. */
static const struct {
	const char *name;
	unsigned places;
} queues[] = {
    {"incoming", PLACE(QUEUE_INCOMING)},
    {"active", PLACE(QUEUE_ACTIVE)},
    {"deferred", PLACE(QUEUE_DEFERRED_PLACE)},
    {"hold", PLACE(QUEUE_HOLD)},
    {"maildrop", 0},
    {"bounce", 0},
    {"defer", 0},
    {"trace", 0},
    {"flush", 0},
};

/* ---- what is asked ------------------------------------------------------------------------------------------ */

void
operator_order_done(struct operator_order *o)
{
	for (size_t i = 0; i < OPERATOR_ACTIONS; i++)
		mem_free(o->targets[i].names);
	*o = (struct operator_order){0};
}

void
operator_order_add(struct operator_order *o, enum operator_action action, const char *name)
{
	struct operator_target *t = &o->targets[action];

	t->asked = true;
	/* As a safety measure in upper case only. */
	if (strcmp(name, "ALL") == 0) {
		t->all = true;
		return;
	}
	t->names = mem_resize(t->names, t->count + 1, sizeof(t->names[0]));
	t->names[t->count++] = name;
}

bool
operator_order_queue(struct operator_order *o, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
		if (strcmp(queues[i].name, name) != 0)
			continue;
		o->places |= queues[i].places;
		o->elsewhere |= queues[i].places == 0;
		return true;
	}
	return false;
}

unsigned
operator_order_places(enum operator_action action, unsigned places)
{
	return places != 0 ? places : actions[action].places;
}

/* ---- messages by id ----------------------------------------------------------------------------------------- */

struct batch {
	int64_t ids[CHUNK];
	size_t count;
};

struct work {
	struct operator_session *session;
	enum operator_action action;       /* that is being carried out */
	unsigned places;                   /* where it looks */
	struct batch todo;                 /* ids that no database has known yet */
	uint64_t counts[OPERATOR_ACTIONS]; /* messages, by what was done with them */
	uint64_t pending;
	struct err *err;
};

static void
batch_add(struct batch *b, int64_t msg_id)
{
	MUST(b->count < CHUNK);
	b->ids[b->count++] = msg_id;
}

/* Orders `done` for the messages of `b`, logs and counts those that were there; only the others stay in `b`. */
static bool
give(struct work *w, struct db_conn *conn, enum operator_action done, struct batch *b)
{
	struct queue_answer answer;
	bool found[CHUNK] = {false};
	size_t left = 0;

	if (b->count == 0)
		return true;
	if (!queue_order_give(conn, actions[done].verb, b->ids, b->count,
		operator_session_user(w->session), actions[w->action].option, found,
		clock_deadline(OPERATOR_PATIENCE), &answer, w->err))
		return false;
	for (size_t i = 0; i < b->count; i++) {
		char id[MAIL_QUEUE_ID_SIZE];

		if (!found[i]) {
			b->ids[left++] = b->ids[i];
			continue;
		}
		mail_queue_id_format(b->ids[i], id);
		log_info("%s: %s", id, actions[done].word);
		w->counts[done]++;
	}
	b->count = left;
	w->pending += answer.pending;
	return true;
}

/* Does it matter where a message is, or whether it was expired before? */
static bool
must_look(const struct work *w)
{
	return w->places != ALL_PLACES || actions[w->action].verb == QUEUE_VERB_EXPIRE;
}

/* The messages of one chunk, sorted out. */
struct sorted {
	struct queue_finding found[CHUNK];
	struct batch here; /* for the action itself */
	struct batch held; /* to be released too */
};

/* Takes what is in this database out of w->todo. */
static void
sort_out(struct work *w, struct sorted *s)
{
	size_t left = 0;

	for (size_t i = 0; i < w->todo.count; i++) {
		const struct queue_finding *f = &s->found[i];
		int64_t msg_id = w->todo.ids[i];

		if (f->places == 0)
			w->todo.ids[left++] = msg_id;
		if ((f->places & w->places) == 0)
			continue;
		if (actions[w->action].verb != QUEUE_VERB_EXPIRE || !f->forced_expire)
			batch_add(&s->here, msg_id);
		if (w->action == OPERATOR_FINISH && (f->places & PLACE(QUEUE_HOLD)) != 0)
			batch_add(&s->held, msg_id);
	}
	w->todo.count = left;
}

/* Looks where the messages are before it orders anything. */
static bool
look_and_give(struct work *w, struct db_conn *conn)
{
	enum operator_action done = w->action == OPERATOR_FINISH ? OPERATOR_EXPIRE : w->action;
	struct sorted *s = mem_new(struct sorted);
	bool good = queue_find_messages(
	    conn, w->todo.ids, w->todo.count, clock_deadline(OPERATOR_PATIENCE), s->found, w->err);

	if (good) {
		sort_out(w, s);
		good = give(w, conn, done, &s->here) && give(w, conn, OPERATOR_RELEASE, &s->held);
	}
	mem_free(s);
	return good;
}

/* Everything in w->todo, in one database after the other. */
static bool
treat_batch(struct work *w)
{
	for (size_t i = 0; i < operator_session_shards(w->session) && w->todo.count > 0; i++) {
		struct db_conn *conn = operator_session_conn(w->session, i, w->err);

		if (conn == NULL)
			return false;
		if (!(must_look(w) ? look_and_give(w, conn) : give(w, conn, w->action, &w->todo)))
			return false;
	}
	w->todo.count = 0;
	return true;
}

static bool
treat_name(struct work *w, struct span name)
{
	int64_t msg_id;

	if (!mail_queue_id_looks_valid(name)) {
		log_warn("invalid mail queue id: %.*s", SPAN_ARG(name));
		return true;
	}
	/* Well-formed, but none of ours: there is no such message. */
	if (!mail_queue_id_parse(name, &msg_id))
		return true;
	batch_add(&w->todo, msg_id);
	return w->todo.count < CHUNK || treat_batch(w);
}

static bool
treat_input(struct work *w)
{
	char line[1024];

	while (fgets(line, sizeof(line), stdin) != NULL)
		if (!treat_name(w, span_of(line, strcspn(line, "\n"))))
			return false;
	return true;
}

static bool
treat_names(struct work *w, const struct operator_target *t)
{
	for (size_t i = 0; i < t->count; i++) {
		bool input = strcmp(t->names[i], "-") == 0;

		if (!(input ? treat_input(w) : treat_name(w, span_str(t->names[i]))))
			return false;
	}
	return treat_batch(w);
}

/* ---- ALL ---------------------------------------------------------------------------------------------------- */

static void
on_message(void *arg, int64_t msg_id)
{
	enum operator_action *done = arg;
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, id);
	log_debug("%s: %s", id, actions[*done].word);
}

/* place NULL: everywhere. */
static bool
give_all(
    struct work *w, struct db_conn *conn, enum operator_action done, const enum queue_place *place)
{
	struct queue_answer answer;

	if (!queue_order_give_all(conn, actions[done].verb, place,
		operator_session_user(w->session), actions[w->action].option, on_message, &done,
		clock_deadline(ALL_PATIENCE), &answer, w->err))
		return false;
	w->counts[done] += answer.done + answer.pending;
	w->pending += answer.pending;
	return true;
}

static bool
treat_all_in(struct work *w, struct db_conn *conn)
{
	enum operator_action done = w->action == OPERATOR_FINISH ? OPERATOR_EXPIRE : w->action;
	enum queue_place hold = QUEUE_HOLD;

	if (w->places == ALL_PLACES && !give_all(w, conn, done, NULL))
		return false;
	for (enum queue_place p = QUEUE_INCOMING; w->places != ALL_PLACES && p <= QUEUE_HOLD; p++)
		if ((w->places & PLACE(p)) != 0 && !give_all(w, conn, done, &p))
			return false;
	return w->action != OPERATOR_FINISH || (w->places & PLACE(QUEUE_HOLD)) == 0 ||
	       give_all(w, conn, OPERATOR_RELEASE, &hold);
}

static bool
treat_all(struct work *w)
{
	for (size_t i = 0; i < operator_session_shards(w->session); i++) {
		struct db_conn *conn = operator_session_conn(w->session, i, w->err);

		if (conn == NULL || !treat_all_in(w, conn))
			return false;
	}
	return true;
}

/* ---- the whole order ---------------------------------------------------------------------------------------- */

static void
log_totals(const struct operator_order *o, const struct work *w)
{
	for (enum operator_action a = 0; a < OPERATOR_ACTIONS; a++) {
		bool asked = o->targets[a].asked;

		if (a == OPERATOR_EXPIRE || a == OPERATOR_RELEASE)
			asked |= o->targets[OPERATOR_FINISH].asked;
		if (asked && a != OPERATOR_FINISH)
			log_info("%s: %llu message%s", actions[a].total,
			    (unsigned long long)w->counts[a], w->counts[a] == 1 ? "" : "s");
	}
	if (w->pending > 0)
		log_info("Pending, being delivered now: %llu message%s",
		    (unsigned long long)w->pending, w->pending == 1 ? "" : "s");
}

static bool
carry_out(struct work *w, const struct operator_order *o)
{
	for (enum operator_action a = 0; a < OPERATOR_ACTIONS; a++) {
		const struct operator_target *t = &o->targets[a];

		if (!t->asked)
			continue;
		w->action = a;
		w->places = operator_order_places(a, o->places);
		if (!treat_names(w, t) || (t->all && !treat_all(w)))
			return false;
	}
	return true;
}

bool
operator_order_run(struct operator_session *s, void *arg, struct err *err)
{
	const struct operator_order *o = arg;
	struct work *w = mem_new(struct work);
	bool good;

	w->session = s;
	w->err = err;
	/* Only directories were named in which messages never are: nothing can be found there. */
	good = (o->places == 0 && o->elsewhere) || carry_out(w, o);
	/* Also after a failure: so much was done. */
	log_totals(o, w);
	operator_session_poke(s);
	mem_free(w);
	return good;
}
