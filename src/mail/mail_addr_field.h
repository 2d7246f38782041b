/*
 * mail_addr_field.h - a header of addresses (RFC 5322 section 3.4) written anew, in the form Postfix gives it: words that stand
 * side by side become addresses of their own, comments go behind their address, an address a line, lines joined while they
 * are short. A header of which no address changes is left alone. Callers: cleanup and the SMTP client (smtp_generic_maps).
 */
#ifndef MAIL_MAIL_ADDR_FIELD_H
#define MAIL_MAIL_ADDR_FIELD_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

/* Appends what becomes of `internal`, an address in internal form, in internal form; nothing: it stays as it stands. False: the
 * rest does not matter any more. */
typedef bool (*mail_addr_field_change)(void *arg, struct span internal, struct buf *ret);

/*
 * The field "name: value" with every address changed by `change`, and a line end. Only the first `token_limit` words and
 * operators of the value are read and written (0: all). *ret_changed: `out` has the new field; else nothing was appended.
 * False: `change` gave up.
 */
bool mail_addr_field_rewrite(struct span name, struct span value, size_t token_limit,
    mail_addr_field_change change, void *arg, struct buf *out, bool *ret_changed) MUST_CHECK;

#endif
