/*
 * test_table_ldap.c - keys in filters and distinguished names: whatever bytes they have, they mean themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifdef HAVE_LDAP
#include "backend/table_ldap.h"

static void
expect(table_query_quote *quote, struct span text, const char *want)
{
	struct buf out = {0};

	quote(NULL, text, &out);
	assert_string_equal(buf_str(&out), want);
	buf_done(&out);
}

/* RFC 4515 section 3. */
static void
test_filter(void **state UNUSED)
{
	expect(table_ldap_quote_filter, SPAN_LIT("ann@here.test"), "ann@here.test");
	expect(table_ldap_quote_filter, SPAN_LIT("*)(mail=*"), "\\2A\\29\\28mail=\\2A");
	expect(table_ldap_quote_filter, SPAN_LIT("a\\2a\0b"), "a\\5C2a\\00b");
	expect(table_ldap_quote_filter, SPAN_LIT("\xc3\xa4"), "\xc3\xa4");
	expect(table_ldap_quote_filter, (struct span){0}, "");
}

/* RFC 4514 section 2.4. */
static void
test_dn(void **state UNUSED)
{
	expect(table_ldap_quote_dn, SPAN_LIT("ann"), "ann");
	expect(table_ldap_quote_dn, SPAN_LIT("x,dc=y"), "x\\2Cdc\\3Dy");
	expect(table_ldap_quote_dn, SPAN_LIT("a+b\"<>;\\"), "a\\2Bb\\22\\3C\\3E\\3B\\5C");
	expect(table_ldap_quote_dn, SPAN_LIT("#a #b"), "\\23a\\20\\23b");
	expect(table_ldap_quote_dn, SPAN_LIT(" a b "), "\\20a\\20b\\20");
	expect(table_ldap_quote_dn, SPAN_LIT("\0"), "\\00");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_dn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int
main(void)
{
	return 0;
}
#endif
