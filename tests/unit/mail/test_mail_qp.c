/*
 * test_mail_qp.c - MIME structure and the conversion to 7 bits. Results do not depend on how the content is cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/mail_mime.h"
#include "mail/mail_qp.h"

static void
test_type(void **state)
{
	static const struct {
		const char *value;
		enum mail_mime_type type;
		const char *boundary;
	} cases[] = {
	    {"text/plain; charset=utf-8", MAIL_MIME_LEAF, ""},
	    {"multipart/mixed; boundary=bb", MAIL_MIME_MULTIPART, "bb"},
	    {"Multipart/Alternative;\n\tcharset=x; BOUNDARY=\"a \\\"b\"; x=y", MAIL_MIME_MULTIPART,
		"a \"b"},
	    {"multipart (a comment) / mixed ; (b) boundary (c) = (d) =bb", MAIL_MIME_MULTIPART, ""},
	    {"multipart (a comment) / mixed ; (b) boundary (c) = (d) bb", MAIL_MIME_MULTIPART,
		"bb"},
	    {"multipart/mixed; charset=\"a;boundary=x\"; boundary=y; boundary=z",
		MAIL_MIME_MULTIPART, "y"},
	    {"multipart/mixed", MAIL_MIME_MULTIPART, ""},
	    {"multipart/digest; boundary=d", MAIL_MIME_DIGEST, "d"},
	    {"message/rfc822", MAIL_MIME_MESSAGE, ""},
	    {"MESSAGE/GLOBAL", MAIL_MIME_GLOBAL, ""},
	    {"message/delivery-status", MAIL_MIME_LEAF, ""},
	    {"", MAIL_MIME_LEAF, ""},
	    {"(((", MAIL_MIME_LEAF, ""},
	    {"multipart/mixed; boundary=\"open", MAIL_MIME_MULTIPART, "open"},
	};
	struct buf boundary CLEANUP(buf_done) = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(
		    mail_mime_parse_type(span_str(cases[i].value), &boundary), cases[i].type);
		assert_string_equal(buf_str(&boundary), cases[i].boundary);
	}
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("8BIT")), MAIL_MIME_8BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT(" (x) binary (y)")), MAIL_MIME_8BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("base64")), MAIL_MIME_7BIT);
	assert_int_equal(mail_mime_parse_encoding(SPAN_LIT("8bitx")), MAIL_MIME_7BIT);
}

#define CTE8  "Content-Transfer-Encoding: 8bit\n"
#define CTE7  "Content-Transfer-Encoding: 7bit\n"
#define CTEQP "Content-Transfer-Encoding: quoted-printable\n"

static const struct {
	const char *in;
	const char *out;
} cases[] = {
    {"", ""},
    {"A: b\n", "A: b\n"},
    {"A: b\n\ncaf\xc3\xa9\n", "A: b\n\ncaf\xc3\xa9\n"},
    {"A: b\n" CTE8 "C: d\n\ncaf\xc3\xa9 = x\n\n", "A: b\nC: d\n" CTEQP "\ncaf=C3=A9 =3D x\n\n"},
    {CTE8 "\nblank \ntab\t\nmid dle\r\n", CTEQP "\nblank=20\ntab=09\nmid dle=0D\n"},
    {"Content-Transfer-Encoding:\n binary\n\n\xff", CTEQP "\n=FF\n"},
    {"Content-Transfer-Encoding: base64\n\nAAAA\n", "Content-Transfer-Encoding: base64\n\nAAAA\n"},
    {CTE8 "no empty line \xc3\xa9\n", CTEQP "no empty line =C3=A9\n"},
    {"Content-Type: multipart/mixed; boundary=bb\n" CTE8 "\npre\xc3\xa9\n--bb\n"
     "Content-Type: text/plain; charset=utf-8\n" CTE8
     "\n\xc3\xbcml\n--bb\nContent-Type: text/plain\n"
     "\nascii = only\n--bb--\nepi = logue\n",
	"Content-Type: multipart/mixed; boundary=bb\n" CTE7 "\npre\xc3\xa9\n--bb\n"
	"Content-Type: text/plain; charset=utf-8\n" CTEQP
	"\n=C3=BCml\n--bb\nContent-Type: text/plain\n"
	"\nascii = only\n--bb--\nepi = logue\n"},
    {"Content-Type: multipart/mixed; boundary=out\n\n--out\n"
     "Content-Type: multipart/alternative; boundary=in\n\n--in\n" CTE8 "\n\xc3\xa9\n--out\n" CTE8
     "\n\xc3\xa9\n--in\n\xc3\xa9\n--out--\n",
	"Content-Type: multipart/mixed; boundary=out\n\n--out\n"
	"Content-Type: multipart/alternative; boundary=in\n\n--in\n" CTEQP "\n=C3=A9\n--out\n" CTEQP
	"\n=C3=A9\n--in\n=C3=A9\n--out--\n"},
    {"Content-Type: message/rfc822\n" CTE8 "\nSubject: x\n" CTE8 "\n\xc3\xa9\n",
	"Content-Type: message/rfc822\n" CTE7 "\nSubject: x\n" CTEQP "\n=C3=A9\n"},
    {"Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: x\n" CTE8 "\n\xc3\xa9\n--d--\n",
	"Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: x\n" CTEQP
	"\n=C3=A9\n--d--\n"},
    {"Content-Type: multipart/mixed; boundary=b\n\n--b\n" CTE8 "--b\n" CTE8 "\n\xc3\xa9\n",
	"Content-Type: multipart/mixed; boundary=b\n\n--b\n" CTEQP "--b\n" CTEQP "\n=C3=A9\n"},
    /* message/global may be encoded as a whole, a multipart without boundary not at all */
    {"Content-Type: message/global\n" CTE8 "\nX: \xc3\xa9\n" CTE8 "\nb\n",
	"Content-Type: message/global\n" CTEQP "\nX: =C3=A9\n" CTE8 "\nb\n"},
    {"Content-Type: multipart/mixed\n" CTE8 "\n--b\n" CTE8 "\n\xc3\xa9\n",
	"Content-Type: multipart/mixed\n" CTE7 "\n--b\n" CTE8 "\n\xc3\xa9\n"},
    {CTE8
	"\n0123456789012345678901234567890123456789012345678901234567890123456789\xc3\xa9\xc3\xa9\n",
	CTEQP "\n0123456789012345678901234567890123456789012345678901234567890123456789=C3=\n"
	      "=A9=C3=A9\n"},
};

static void
convert(struct span in, size_t first, size_t each, struct buf *out)
{
	struct mail_qp *qp = mail_qp_new();

	mail_qp_write(qp, span_head(in, first), out);
	for (size_t at = first; at < in.len; at += each)
		mail_qp_write(qp, span_head(span_from(in, at), each), out);
	mail_qp_finish(qp, out);
	mail_qp_free(&qp);
	assert_null(qp);
}

static void
test_convert(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct span in = span_str(cases[i].in);

		for (size_t first = 0; first <= in.len; first++) {
			struct buf out CLEANUP(buf_done) = {0};

			convert(in, first, first % 3 == 0 ? 1 : in.len, &out);
			assert_string_equal(buf_str(&out), cases[i].out);
		}
	}
}

/* Lines beyond the buffer, and more nesting than is followed. */
static void
test_large(void **state)
{
	struct buf in CLEANUP(buf_done) = {0};
	struct buf whole CLEANUP(buf_done) = {0};
	struct buf pieces CLEANUP(buf_done) = {0};

	(void)state;
	buf_add_str(&in, "Content-Type: multipart/mixed; boundary=b\n" CTE8 "X: ");
	for (int i = 0; i < 3000; i++)
		buf_add_str(&in, "word ");
	buf_add_str(&in, "\n\n--b\n" CTE8 "\n--b");
	for (int i = 0; i < 3000; i++)
		buf_add_str(&in, "\xc3\xa9=");
	for (int i = 0; i < 150; i++)
		buf_printf(&in,
		    "\n--b\nContent-Type: multipart/mixed; boundary=b%03d\n" CTE8 "\n--b%03d\n"
		    "Content-Type: message/rfc822\n\n" CTE8,
		    i, i);
	buf_add_str(&in, "\n\xc3\xa9\n--b--\n");
	convert(buf_span(&in), in.len, 1, &whole);
	convert(buf_span(&in), 0, 1000, &pieces);
	assert_true(span_equal(buf_span(&whole), buf_span(&pieces)));
	assert_false(mail_qp_is_needed(buf_span(&whole)));
	assert_true(mail_qp_is_needed(buf_span(&in)));
}

static void
test_needed(void **state)
{
	char text[40];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_false(mail_qp_is_needed(span_of(text, sizeof(text))));
	assert_false(mail_qp_is_needed(span_of(text, 0)));
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = (char)0x80;
		assert_true(mail_qp_is_needed(span_of(text, sizeof(text))));
		assert_false(mail_qp_is_needed(span_of(text, i)));
		text[i] = 'x';
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_type),
	    cmocka_unit_test(test_convert),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
