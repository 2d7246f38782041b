/*
 * table_backend.h - the types of tables that need a foreign library which blocks: ldap, mysql, sqlite. Most programs know their
 * names only and ask through proxymap; the library is loaded by those that link the types.
 */
#ifndef TABLE_TABLE_BACKEND_H
#define TABLE_TABLE_BACKEND_H

/* Makes this program able to open such tables itself. To be called at the front of main(). */
void table_backend_link(void);

#endif
