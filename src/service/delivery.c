/*
 * delivery.c - see delivery.h. Fields stand in the order of the structs: numbers in network byte order, bytes as a
 * u32 length, the bytes and a NUL that does not count, flags as one u8 that is 0 or 1, lists as a u32 count and the elements.
 *
 * The reader trusts nothing: a failed field makes all later ones empty and the whole frame malformed, a count is
 * checked against the bytes that are there before anything is allocated, and bytes left over are an error.
 */
#include "service/delivery.h"

/* The least bytes that one element can take: bounds the counts. */
#define RCPT_MIN    (4 + 5 + 5 + 5 + 4 + 5)
#define ATTR_MIN    (5 + 5)
#define OUTCOME_MIN (4 + 1 + 1 + 1 + 7 * 5)

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void
put_bytes(struct buf *b, struct span s)
{
	MUST(s.len <= UINT32_MAX);
	buf_add_u32(b, (uint32_t)s.len);
	buf_add_span(b, s);
	buf_add_u8(b, 0);
}

static void
put_count(struct buf *b, size_t count)
{
	MUST(count <= UINT32_MAX);
	buf_add_u32(b, (uint32_t)count);
}

static void
put_flag(struct buf *b, bool flag)
{
	buf_add_u8(b, flag ? 1 : 0);
}

void
delivery_write_hello(struct buf *b, const struct delivery_hello *hello)
{
	put_bytes(b, hello->service);
	buf_add_u64(b, (uint64_t)hello->pid);
	buf_add_u32(b, hello->slots);
}

static void
write_rcpt(struct buf *b, const struct delivery_rcpt *rcpt)
{
	buf_add_u32(b, rcpt->rcpt_no);
	put_bytes(b, rcpt->addr);
	put_bytes(b, rcpt->orig_addr);
	put_bytes(b, rcpt->dsn_orcpt);
	buf_add_u32(b, rcpt->dsn_notify);
	put_bytes(b, rcpt->user);
}

void
delivery_write_request(struct buf *b, const struct delivery_request *request)
{
	buf_add_u64(b, (uint64_t)request->msg_id);
	buf_add_u64(b, (uint64_t)request->epoch);
	put_bytes(b, request->queue_id);
	put_bytes(b, request->transport);
	put_bytes(b, request->nexthop);
	put_bytes(b, request->sender);
	buf_add_u64(b, (uint64_t)request->arrival);
	buf_add_u64(b, (uint64_t)request->activated);
	buf_add_u64(b, request->size);
	put_flag(b, request->content_inline);
	put_bytes(b, request->content);
	put_flag(b, request->verify_only);
	put_flag(b, request->partly);
	put_count(b, request->attr_count);
	for (size_t i = 0; i < request->attr_count; i++) {
		put_bytes(b, request->attrs[i].name);
		put_bytes(b, request->attrs[i].value);
	}
	put_count(b, request->rcpt_count);
	for (size_t i = 0; i < request->rcpt_count; i++)
		write_rcpt(b, &request->rcpts[i]);
}

void
delivery_write_content(struct buf *b, const struct delivery_content *content)
{
	buf_add_u64(b, content->offset);
	put_bytes(b, content->bytes);
	put_flag(b, content->last);
	put_flag(b, content->failed);
}

void
delivery_write_pull(struct buf *b, const struct delivery_pull *pull)
{
	buf_add_u64(b, pull->offset);
	buf_add_u32(b, pull->credit);
}

static void
write_outcome(struct buf *b, const struct delivery_outcome *outcome)
{
	buf_add_u32(b, outcome->rcpt_no);
	buf_add_u8(b, (uint8_t)outcome->status);
	put_flag(b, outcome->final);
	put_flag(b, outcome->passed_on);
	put_bytes(b, outcome->dsn);
	put_bytes(b, outcome->text);
	put_bytes(b, outcome->relay);
	put_bytes(b, outcome->remote_mta);
	put_bytes(b, outcome->diagnostic);
	put_bytes(b, outcome->reply_status);
	put_bytes(b, outcome->forwards);
}

void
delivery_write_result(struct buf *b, const struct delivery_result *result)
{
	buf_add_u64(b, (uint64_t)result->msg_id);
	put_bytes(b, result->site_error);
	put_bytes(b, result->site_error_dsn);
	put_flag(b, result->partly);
	put_count(b, result->outcome_count);
	for (size_t i = 0; i < result->outcome_count; i++)
		write_outcome(b, &result->outcomes[i]);
}

void
delivery_write_idle(struct buf *b, const struct delivery_idle *idle)
{
	put_bytes(b, idle->nexthop);
	buf_add_u32(b, idle->count);
}

void
delivery_write_lease(struct buf *b, const struct delivery_lease *lease)
{
	buf_add_u32(b, lease->shard);
	buf_add_u64(b, (uint64_t)lease->epoch);
	buf_add_u64(b, (uint64_t)lease->until);
}

void
delivery_write_doubt(struct buf *b, const struct delivery_doubt *doubt)
{
	buf_add_u64(b, (uint64_t)doubt->msg_id);
	put_count(b, doubt->rcpt_count);
	for (size_t i = 0; i < doubt->rcpt_count; i++)
		buf_add_u32(b, doubt->rcpt_nos[i]);
}

void
delivery_write_notice(struct buf *b, const struct delivery_notice *notice)
{
	put_flag(b, notice->lmtp);
	put_bytes(b, notice->peer);
	put_bytes(b, notice->transcript);
	put_flag(b, notice->cut);
}

void
delivery_add_recorded(struct buf *b, uint32_t delivery)
{
	buf_add_u32(b, delivery);
}

const char *
delivery_probe_word(enum delivery_status status)
{
	return status == DELIVERY_SENT ? "deliverable" : "undeliverable";
}

bool
delivery_result_counts(const struct delivery_result *result)
{
	for (size_t i = 0; i < result->outcome_count; i++)
		if (result->outcomes[i].status == DELIVERY_SENT)
			return true;
	return false;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* What is left of a payload; `failed` is sticky. */
struct reader {
	struct span rest;
	bool failed;
};

/* Cuts `len` bytes off the front; NULL when there are not so many. */
static const char *
take(struct reader *r, size_t len)
{
	const char *at = r->rest.ptr;

	if (r->failed || len > r->rest.len) {
		r->failed = true;
		return NULL;
	}
	r->rest.ptr += len;
	r->rest.len -= len;
	return at;
}

static uint64_t
take_number(struct reader *r, size_t len)
{
	const unsigned char *at = (const unsigned char *)take(r, len);
	uint64_t v = 0;

	for (size_t i = 0; at != NULL && i < len; i++)
		v = v << 8 | at[i];
	return v;
}

static uint32_t
take_u32(struct reader *r)
{
	return (uint32_t)take_number(r, 4);
}

static int64_t
take_i64(struct reader *r)
{
	return (int64_t)take_number(r, 8);
}

static bool
take_flag(struct reader *r)
{
	uint64_t v = take_number(r, 1);

	if (v > 1)
		r->failed = true;
	return v == 1;
}

static struct span
take_bytes(struct reader *r)
{
	size_t len = take_u32(r);
	const char *at = take(r, len);
	const char *nul = take(r, 1);

	if (at == NULL || nul == NULL || *nul != '\0') {
		r->failed = true;
		return (struct span){0};
	}
	return span_of(at, len);
}

/* A count of elements that take at least `least` bytes each; 0 when they cannot be there. */
static size_t
take_count(struct reader *r, size_t least)
{
	size_t count = take_u32(r);

	if (count > r->rest.len / least) {
		r->failed = true;
		return 0;
	}
	return count;
}

/* True when everything was there and nothing is left. */
static bool
at_end(const struct reader *r)
{
	return !r->failed && r->rest.len == 0;
}

bool
delivery_parse_hello(struct span in, struct delivery_hello *ret)
{
	struct reader r = {in, false};
	struct delivery_hello hello;

	hello.service = take_bytes(&r);
	hello.pid = take_i64(&r);
	hello.slots = take_u32(&r);
	if (!at_end(&r))
		return false;
	*ret = hello;
	return true;
}

static void
parse_rcpt(struct reader *r, struct delivery_rcpt *ret)
{
	ret->rcpt_no = take_u32(r);
	ret->addr = take_bytes(r);
	ret->orig_addr = take_bytes(r);
	ret->dsn_orcpt = take_bytes(r);
	ret->dsn_notify = take_u32(r);
	ret->user = take_bytes(r);
}

static void
parse_lists(struct reader *r, struct arena *arena, struct delivery_request *ret)
{
	ret->attr_count = take_count(r, ATTR_MIN);
	if (ret->attr_count > 0)
		ret->attrs = arena_alloc(arena, ret->attr_count * sizeof(ret->attrs[0]));
	for (size_t i = 0; i < ret->attr_count; i++) {
		ret->attrs[i].name = take_bytes(r);
		ret->attrs[i].value = take_bytes(r);
	}
	ret->rcpt_count = take_count(r, RCPT_MIN);
	if (ret->rcpt_count > 0)
		ret->rcpts = arena_alloc(arena, ret->rcpt_count * sizeof(ret->rcpts[0]));
	for (size_t i = 0; i < ret->rcpt_count; i++)
		parse_rcpt(r, &ret->rcpts[i]);
}

bool
delivery_parse_request(struct span in, struct arena *arena, struct delivery_request *ret)
{
	struct reader r = {in, false};
	struct delivery_request request = {0};

	request.msg_id = take_i64(&r);
	request.epoch = take_i64(&r);
	request.queue_id = take_bytes(&r);
	request.transport = take_bytes(&r);
	request.nexthop = take_bytes(&r);
	request.sender = take_bytes(&r);
	request.arrival = take_i64(&r);
	request.activated = take_i64(&r);
	request.size = take_number(&r, 8);
	request.content_inline = take_flag(&r);
	request.content = take_bytes(&r);
	request.verify_only = take_flag(&r);
	request.partly = take_flag(&r);
	parse_lists(&r, arena, &request);
	if (!at_end(&r))
		return false;
	*ret = request;
	return true;
}

bool
delivery_parse_content(struct span in, struct delivery_content *ret)
{
	struct reader r = {in, false};
	struct delivery_content content;

	content.offset = take_number(&r, 8);
	content.bytes = take_bytes(&r);
	content.last = take_flag(&r);
	content.failed = take_flag(&r);
	if (!at_end(&r))
		return false;
	*ret = content;
	return true;
}

bool
delivery_parse_pull(struct span in, struct delivery_pull *ret)
{
	struct reader r = {in, false};
	struct delivery_pull pull;

	pull.offset = take_number(&r, 8);
	pull.credit = take_u32(&r);
	if (!at_end(&r))
		return false;
	*ret = pull;
	return true;
}

static void
parse_outcome(struct reader *r, struct delivery_outcome *ret)
{
	uint64_t status;

	ret->rcpt_no = take_u32(r);
	status = take_number(r, 1);
	if (status < DELIVERY_SENT || status > DELIVERY_PASSED)
		r->failed = true;
	ret->status = (enum delivery_status)status;
	ret->final = take_flag(r);
	ret->passed_on = take_flag(r);
	ret->dsn = take_bytes(r);
	ret->text = take_bytes(r);
	ret->relay = take_bytes(r);
	ret->remote_mta = take_bytes(r);
	ret->diagnostic = take_bytes(r);
	ret->reply_status = take_bytes(r);
	ret->forwards = take_bytes(r);
}

bool
delivery_parse_result(struct span in, struct arena *arena, struct delivery_result *ret)
{
	struct reader r = {in, false};
	struct delivery_result result = {0};

	result.msg_id = take_i64(&r);
	result.site_error = take_bytes(&r);
	result.site_error_dsn = take_bytes(&r);
	result.partly = take_flag(&r);
	result.outcome_count = take_count(&r, OUTCOME_MIN);
	if (result.outcome_count > 0)
		result.outcomes =
		    arena_alloc(arena, result.outcome_count * sizeof(result.outcomes[0]));
	for (size_t i = 0; i < result.outcome_count; i++)
		parse_outcome(&r, &result.outcomes[i]);
	if (!at_end(&r))
		return false;
	*ret = result;
	return true;
}

bool
delivery_parse_idle(struct span in, struct delivery_idle *ret)
{
	struct reader r = {in, false};
	struct delivery_idle idle;

	idle.nexthop = take_bytes(&r);
	idle.count = take_u32(&r);
	if (!at_end(&r))
		return false;
	*ret = idle;
	return true;
}

bool
delivery_parse_lease(struct span in, struct delivery_lease *ret)
{
	struct reader r = {in, false};
	struct delivery_lease lease;

	lease.shard = take_u32(&r);
	lease.epoch = take_i64(&r);
	lease.until = take_i64(&r);
	if (!at_end(&r))
		return false;
	*ret = lease;
	return true;
}

bool
delivery_parse_doubt(struct span in, struct arena *arena, struct delivery_doubt *ret)
{
	struct reader r = {in, false};
	struct delivery_doubt doubt = {0};

	doubt.msg_id = take_i64(&r);
	doubt.rcpt_count = take_count(&r, 4);
	if (doubt.rcpt_count > 0)
		doubt.rcpt_nos = arena_alloc(arena, doubt.rcpt_count * sizeof(doubt.rcpt_nos[0]));
	for (size_t i = 0; i < doubt.rcpt_count; i++)
		doubt.rcpt_nos[i] = take_u32(&r);
	if (!at_end(&r))
		return false;
	*ret = doubt;
	return true;
}

bool
delivery_parse_notice(struct span in, struct delivery_notice *ret)
{
	struct reader r = {in, false};
	struct delivery_notice notice;

	notice.lmtp = take_flag(&r);
	notice.peer = take_bytes(&r);
	notice.transcript = take_bytes(&r);
	notice.cut = take_flag(&r);
	if (!at_end(&r))
		return false;
	*ret = notice;
	return true;
}

bool
delivery_next_recorded(struct span *in, uint32_t *ret)
{
	struct reader r = {*in, false};
	uint32_t delivery = take_u32(&r);

	if (r.failed)
		return false;
	*in = r.rest;
	*ret = delivery;
	return true;
}
