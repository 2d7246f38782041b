/*
 * smtp_generic.h - smtp_generic_maps: addresses that only this host knows become ones that the world can answer, in the envelope
 * and in the header section (generic(5)).
 */
#ifndef CLIENT_SMTP_GENERIC_H
#define CLIENT_SMTP_GENERIC_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "conf/conf.h"

struct smtp_generic;

struct smtp_generic *smtp_generic_new(struct conf *conf, bool lmtp);
void smtp_generic_free(struct smtp_generic **g);

/* Is there any table? */
bool smtp_generic_is_on(const struct smtp_generic *g);

/* Appends what the tables make of `addr` (internal form), or `addr` itself. False: table trouble. May wait. */
bool smtp_generic_address(struct smtp_generic *g, struct span addr, struct buf *out) MUST_CHECK;

/*
 * Appends the header section at the front of `content` (LF line ends) with its addresses rewritten. *ret_len: bytes of it.
 * False: table trouble. May wait.
 */
bool smtp_generic_header(
    struct smtp_generic *g, struct span content, struct buf *out, size_t *ret_len) MUST_CHECK;

/* Is the header section within `content` complete, so that more of it changes nothing? */
bool smtp_generic_has_header(struct span content);

#endif
