/*
 * delivery_forward.c - see delivery_forward.h. M sender, D delivered-to, P pass; R address, O original address, C ORCPT, N NOTIFY; F address, S
 * status code, T text, G diagnostic, W owner, L 1 for a list; E action: always all fields of a record, in this order.
 */
#include "service/delivery_forward.h"

static void
put_field(struct buf *out, char letter, struct span value)
{
	buf_add_char(out, letter);
	/* No value may break a line: such addresses are not storable, texts are one line. */
	for (size_t i = 0; i < value.len; i++)
		buf_add_char(out, value.ptr[i] == '\n' ? ' ' : value.ptr[i]);
	buf_add_char(out, '\n');
}

void
delivery_forward_begin(struct buf *out, const struct delivery_forward *f)
{
	put_field(out, 'M', f->sender);
	put_field(out, 'D', f->delivered);
	put_field(out, 'P', f->pass);
}

void
delivery_forward_add(struct buf *out, const struct delivery_forward_rcpt *r)
{
	put_field(out, 'R', r->addr);
	put_field(out, 'O', r->orig_addr);
	put_field(out, 'C', r->dsn_orcpt);
	buf_printf(out, "N%u\n", (unsigned)r->dsn_notify);
}

void
delivery_forward_failure(struct buf *out, const struct delivery_failure *f)
{
	put_field(out, 'F', f->addr);
	put_field(out, 'S', f->dsn);
	put_field(out, 'T', f->text);
	put_field(out, 'G', f->diagnostic);
	put_field(out, 'W', f->owner);
	put_field(out, 'L', f->of_list ? SPAN_LIT("1") : SPAN_LIT("0"));
}

void
delivery_forward_expanded(struct buf *out, const char *action)
{
	put_field(out, 'E', span_str(action));
}

static bool
take_field(struct span *rest, char letter, struct span *ret)
{
	size_t len = span_find(*rest, '\n');

	if (len == rest->len || len == 0 || rest->ptr[0] != letter)
		return false;
	*ret = span_of(rest->ptr + 1, len - 1);
	*rest = span_from(*rest, len + 1);
	return true;
}

static bool
take_rcpt(struct span *rest, struct delivery_forward_rcpt *r)
{
	struct span notify;
	uint64_t number;

	if (!take_field(rest, 'R', &r->addr) || !take_field(rest, 'O', &r->orig_addr) ||
	    !take_field(rest, 'C', &r->dsn_orcpt) || !take_field(rest, 'N', &notify) ||
	    !span_number(notify, 15, &number))
		return false;
	r->dsn_notify = (uint32_t)number;
	return true;
}

static bool
take_failure(struct span *rest, struct delivery_failure *f)
{
	struct span list;

	if (!take_field(rest, 'F', &f->addr) || !take_field(rest, 'S', &f->dsn) ||
	    !take_field(rest, 'T', &f->text) || !take_field(rest, 'G', &f->diagnostic) ||
	    !take_field(rest, 'W', &f->owner) || !take_field(rest, 'L', &list))
		return false;
	f->of_list = span_equal_str(list, "1");
	return true;
}

enum delivery_forward_kind
delivery_forward_next(struct span *rest, struct delivery_forward_record *ret)
{
	if (rest->len == 0)
		return DELIVERY_FORWARD_END;
	switch (rest->ptr[0]) {
	case 'M':
		if (take_field(rest, 'M', &ret->message.sender) &&
		    take_field(rest, 'D', &ret->message.delivered) &&
		    take_field(rest, 'P', &ret->message.pass))
			return DELIVERY_FORWARD_MESSAGE;
		break;
	case 'R':
		if (take_rcpt(rest, &ret->rcpt))
			return DELIVERY_FORWARD_RCPT;
		break;
	case 'F':
		if (take_failure(rest, &ret->failure))
			return DELIVERY_FORWARD_FAILURE;
		break;
	case 'E':
		if (take_field(rest, 'E', &ret->action))
			return DELIVERY_FORWARD_EXPANDED;
		break;
	default:
		break;
	}
	return DELIVERY_FORWARD_MALFORMED;
}
