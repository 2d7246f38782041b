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
#include "operator/operator_maildrop.h"
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
    {"maildrop", 0}, /* files: o->files */
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
		o->files |= strcmp(name, "maildrop") == 0;
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
	unsigned places;                   /* where it looks; 0: in no database */
	bool files;                        /* and in maildrop */
	size_t shard;                      /* -r: the database that is being treated ... */
	struct batch again;                /* ... and what was put on hold there, to become files */
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

/* Orders something for the messages of `b`, which says nothing to anybody. */
static bool
give_quietly(struct work *w, struct db_conn *conn, enum queue_verb verb, const struct batch *b)
{
	struct queue_answer answer;

	if (b->count == 0)
		return true;
	return queue_order_give(conn, verb, b->ids, b->count, operator_session_user(w->session),
	    actions[w->action].option, NULL, clock_deadline(OPERATOR_PATIENCE), &answer, w->err);
}

/* What the action begins with. */
static enum queue_verb
first_verb(enum operator_action a)
{
	return a == OPERATOR_REQUEUE ? QUEUE_VERB_HOLD : actions[a].verb;
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
	if (!queue_order_give(conn, first_verb(done), b->ids, b->count,
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

/* ---- -r ----------------------------------------------------------------------------------------------------- */

/* What lies on hold for us becomes files, and goes; all else is made due anew where it is. */
static bool
requeue_batch(struct work *w, struct db_conn *conn, struct batch *b)
{
	struct queue_finding found[CHUNK];
	struct batch gone = {0};
	struct batch stays = {0};
	struct err err;

	if (b->count == 0)
		return true;
	if (!queue_find_messages(
		conn, b->ids, b->count, clock_deadline(OPERATOR_PATIENCE), found, w->err))
		return false;
	for (size_t i = 0; i < b->count; i++) {
		bool held = found[i].places == PLACE(QUEUE_HOLD);
		bool is_file =
		    held && operator_maildrop_requeue(w->session, w->shard, b->ids[i], &err);

		if (held && !is_file && err.kind != ERR_GONE)
			log_warn("%s: it stays where it is", err.text);
		if (found[i].places != 0)
			batch_add(is_file ? &gone : &stays, b->ids[i]);
	}
	b->count = 0;
	return give_quietly(w, conn, QUEUE_VERB_DELETE, &gone) &&
	       give_quietly(w, conn, QUEUE_VERB_REQUEUE, &stays);
}

/* The messages of w->todo that are in this database and in the right place: first on hold, so that nobody delivers them meanwhile. */
static bool
requeue_here(struct work *w, struct db_conn *conn)
{
	struct sorted *s = mem_new(struct sorted);
	bool good = queue_find_messages(
	    conn, w->todo.ids, w->todo.count, clock_deadline(OPERATOR_PATIENCE), s->found, w->err);

	if (good) {
		sort_out(w, s);
		w->again = s->here;
		good =
		    give(w, conn, OPERATOR_REQUEUE, &s->here) && requeue_batch(w, conn, &w->again);
	}
	mem_free(s);
	return good;
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
	if (w->places == 0)
		w->todo.count = 0;
	for (size_t i = 0; i < operator_session_shards(w->session) && w->todo.count > 0; i++) {
		struct db_conn *conn = operator_session_conn(w->session, i, w->err);

		if (conn == NULL)
			return false;
		w->shard = i;
		if (w->action == OPERATOR_REQUEUE ? !requeue_here(w, conn)
		    : must_look(w)                ? !look_and_give(w, conn)
						  : !give(w, conn, w->action, &w->todo))
			return false;
	}
	w->todo.count = 0;
	return true;
}

static void
on_removed(const char *name)
{
	log_info("%s: %s", name, actions[OPERATOR_DELETE].word);
}

static bool
treat_name(struct work *w, struct span name)
{
	int64_t msg_id;

	if (!mail_queue_id_looks_valid(name)) {
		log_warn("invalid mail queue id: %.*s", SPAN_ARG(name));
		return true;
	}
	if (w->files) {
		char *file CLEANUP(mem_free_str) = span_dup(name);

		w->counts[w->action] +=
		    operator_maildrop_delete(operator_session_conf(w->session), file, on_removed);
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

/* One action for all messages of a database. */
struct all {
	struct work *work;
	struct db_conn *conn;
	enum operator_action done;
	bool failed;
};

/* While -r goes through the queue only so much is on hold at a time. */
static void
on_message(void *arg, int64_t msg_id)
{
	struct all *a = arg;
	struct work *w = a->work;
	char id[MAIL_QUEUE_ID_SIZE];

	mail_queue_id_format(msg_id, id);
	log_debug("%s: %s", id, actions[a->done].word);
	if (a->done != OPERATOR_REQUEUE || a->failed)
		return;
	batch_add(&w->again, msg_id);
	if (w->again.count == CHUNK)
		a->failed = !requeue_batch(w, a->conn, &w->again);
}

/* place NULL: everywhere. */
static bool
give_all(
    struct work *w, struct db_conn *conn, enum operator_action done, const enum queue_place *place)
{
	struct all all = {.work = w, .conn = conn, .done = done};
	struct queue_answer answer;

	if (!queue_order_give_all(conn, first_verb(done), place, operator_session_user(w->session),
		actions[w->action].option, on_message, &all, clock_deadline(ALL_PATIENCE), &answer,
		w->err))
		return false;
	if (all.failed || !requeue_batch(w, conn, &w->again))
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
	if (w->files)
		w->counts[w->action] +=
		    operator_maildrop_delete(operator_session_conf(w->session), NULL, NULL);
	for (size_t i = 0; i < operator_session_shards(w->session) && w->places != 0; i++) {
		struct db_conn *conn = operator_session_conn(w->session, i, w->err);

		w->shard = i;
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
		bool named = o->places != 0 || o->elsewhere;

		w->action = a;
		w->places = named ? o->places : operator_order_places(a, 0);
		w->files = a == OPERATOR_DELETE && (!named || o->files);
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
	good = carry_out(w, o);
	/* Also after a failure: so much was done. */
	log_totals(o, w);
	operator_session_poke(s);
	if (w->counts[OPERATOR_REQUEUE] > 0)
		operator_maildrop_wake(operator_session_conf(s));
	mem_free(w);
	return good;
}
