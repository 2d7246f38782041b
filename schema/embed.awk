# embed.awk - schema/NNNN-name.sql ... -> C source of queue_migrations[].
BEGIN { print "#include \"queue/queue_int.h\"\n\nconst struct queue_migration queue_migrations[] = {" }
FNR == 1 {
	if (NR > 1)
		print "\t\"\"},"
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.sql$/, "", name)
	printf "\t{%d, \"%s\",\n", name + 0, name
}
{
	gsub(/\\/, "\\\\")
	gsub(/"/, "\\\"")
	print "\t\"" $0 "\\n\""
}
END { print "\t\"\"},\n};\nconst size_t queue_migration_count = sizeof(queue_migrations) / sizeof(queue_migrations[0]);" }
