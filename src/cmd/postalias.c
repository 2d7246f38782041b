/*
 * postalias.c - build and query alias databases (postalias(1)).
 */
#include "backend/backend.h"
#include "operator/operator_table.h"
#include "table/table_proxy.h"

int
main(int argc, char **argv)
{
	backend_link_all();
	table_proxy_ask_directly();
	return operator_table_main(argc, argv, true);
}
