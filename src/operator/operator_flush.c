/*
 * operator_flush.c - see operator_flush.h.
 */
#include "operator/operator_flush.h"

#include "base/clock.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_permit.h"
#include "queue/queue_order.h"

/* Nobody would do anything about it: that is to be said. */
static bool
is_up(struct operator_session *s, struct err *err)
{
	bool up = false;

	for (size_t i = 0; i < operator_session_shards(s) && !up; i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn == NULL ||
		    !queue_order_is_obeyed(conn, clock_deadline(OPERATOR_PATIENCE), &up, err))
			return false;
	}
	return up || err_set(err, ERR_TEMP, "", "mail system is down");
}

bool
operator_flush_all(struct operator_session *s, struct err *err)
{
	bool good = true;

	if (!is_up(s, err))
		return false;
	/* A database that is away must not keep the others' mail waiting. */
	for (size_t i = 0; i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn == NULL ||
		    !queue_order_flush_all(conn, clock_deadline(OPERATOR_PATIENCE), NULL, err))
			good = false;
	}
	operator_session_poke(s);
	return good;
}

bool
operator_flush_message(struct operator_session *s, struct span queue_id, struct err *err)
{
	struct queue_answer answer;
	int64_t msg_id;

	if (!is_up(s, err))
		return false;
	if (!mail_queue_id_parse(queue_id, &msg_id))
		return true;
	for (size_t i = 0; i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);
		bool found;

		if (conn == NULL ||
		    !queue_order_give(conn, QUEUE_VERB_FLUSH, &msg_id, 1, operator_session_user(s),
			"postqueue -i", &found, clock_deadline(OPERATOR_PATIENCE), &answer, err))
			return false;
		if (found)
			break;
	}
	operator_session_poke(s);
	return true;
}

bool
operator_flush_site(struct operator_session *s, const char *domain, struct err *err)
{
	if (!operator_permit_site(s, domain, err) || !is_up(s, err))
		return false;
	for (size_t i = 0; i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn == NULL || !queue_order_flush_site(
					conn, domain, clock_deadline(OPERATOR_PATIENCE), NULL, err))
			return false;
	}
	operator_session_poke(s);
	return true;
}
