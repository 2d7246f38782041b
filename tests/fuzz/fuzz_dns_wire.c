/*
 * fuzz_dns_wire.c - an answer from a hostile name server.
 */
#include <stdint.h>

#include "dns/dns_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int types[] = {DNS_TYPE_A, DNS_TYPE_MX, DNS_TYPE_PTR, DNS_TYPE_TXT};
	struct dns_answer a;

	if (!dns_wire_begin(span_of((const char *)data, size), &a))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct dns_record r;
		size_t at = a.at;
		size_t seen = 0;
		bool malformed = false;
		char name[DNS_NAME_MAX];

		while (dns_wire_next(&a, types[i], &at, &seen, &r, &malformed)) {
			size_t in = r.at;

			MUST(r.at + r.len <= size);
			if (dns_wire_name(a.bytes, &in, name))
				(void)dns_wire_is_host_name(name);
		}
		MUST(at <= size);
	}
	return 0;
}
