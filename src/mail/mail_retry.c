/*
 * mail_retry.c - see mail_retry.h.
 */
#include "mail/mail_retry.h"

int64_t
mail_retry_delay(int64_t now, int64_t arrival, int64_t min, int64_t max)
{
	int64_t age = now > arrival ? now - arrival : 0;

	/* the upper limit wins where an operator set them the wrong way round, as in Postfix */
	return MIN(MAX(age, min), max);
}

bool
mail_retry_is_expired(int64_t now, int64_t arrival, int64_t lifetime)
{
	/* a clock that was set back makes nothing expire, except at lifetime 0, where every attempt is the last */
	return (now > arrival ? now - arrival : 0) >= lifetime;
}
