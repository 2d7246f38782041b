# make deps         install what building and running needs (Debian packages, as root)
# make check-deps   the same for the tests, and the system users that they run as
# make run, stop    the five-minute start (deploy/run.sh)
# make install      DESTDIR= PREFIX=/usr: programs, commands, example configuration
deps:
	@deploy/deps.sh deploy/packages.txt
check-deps:
	@deploy/deps.sh deploy/packages.txt deploy/packages-check.txt
	@deploy/users.sh

# A second make: the first one read its compiler flags before the libraries were there.
run: deps
	$(Q)$(MAKE) -j$$(nproc) all
	@BUILD=$(BUILD) deploy/run.sh
stop:
	@BUILD=$(BUILD) deploy/run.sh stop

PREFIX  ?= /usr
LIBEXEC  = $(PREFIX)/lib/rowpost
# What people call; the services stay in LIBEXEC.
COMMANDS = $(filter-out master smtpd qmqpd pickup qmgr smtp lmtp local virtual pipe spawn proxymap console postscreen,$(CMDS))

install: all
	install -d $(DESTDIR)$(LIBEXEC) $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)/etc/rowpost
	install -m 755 $(CMDS:%=$(BUILD)/bin/%) $(DESTDIR)$(LIBEXEC)
	for c in $(COMMANDS); do ln -sf $(LIBEXEC)/$$c $(DESTDIR)$(PREFIX)/sbin/$$c; done
	for f in main.cf master.cf; do [ -e $(DESTDIR)/etc/rowpost/$$f ] || \
		install -m 644 conf/$$f $(DESTDIR)/etc/rowpost; done
	install -D -m 644 deploy/rowpost.service $(DESTDIR)$(PREFIX)/lib/systemd/system/rowpost.service

.PHONY: deps check-deps run stop install
