# The migrations, schema/NNNN-name.sql, become part of room queue: a table of C strings (queue/queue_int.h).
MIGRATIONS := $(sort $(wildcard schema/[0-9]*.sql))
$(BUILD)/schema/migrations.c: $(MIGRATIONS) schema/embed.awk
	@mkdir -p $(@D)
	$(Q)awk -f schema/embed.awk $(MIGRATIONS) >$@
$(BUILD)/schema/migrations.o: $(BUILD)/schema/migrations.c
	@mkdir -p $(@D); $(if $(V),,echo "CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/lib/queue.a: $(BUILD)/schema/migrations.o
