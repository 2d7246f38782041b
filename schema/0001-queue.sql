-- The queue. docs/queue.md explains the states and who moves what; design rules are cited as "rule N".
--
-- Schema mailq holds the tables and what the programs need; schema rowpost is the operators' API: views and functions.
-- Run by `rowpost schema` in one transaction, under an advisory lock. Roles belong to the whole cluster, and several databases may be
-- created at once: losing that race is not an error.
DO $$
DECLARE r text;
BEGIN
	FOREACH r IN ARRAY ARRAY['rowpost_front', 'rowpost_scheduler', 'rowpost_operator', 'rowpost_monitor'] LOOP
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
			BEGIN
				EXECUTE format('CREATE ROLE %I NOLOGIN', r);
			EXCEPTION WHEN duplicate_object OR unique_violation THEN
				NULL;
			END;
		END IF;
	END LOOP;
END $$;

CREATE SCHEMA mailq;
CREATE SCHEMA rowpost;
COMMENT ON SCHEMA mailq IS 'Rowpost: tables of the queue; written by the programs only';
COMMENT ON SCHEMA rowpost IS 'Rowpost: views and functions for operators';

CREATE TABLE mailq.schema_version (
	version        int4 PRIMARY KEY,
	oldest_program int4 NOT NULL, -- programs whose newest known version is lower than this may not use the schema
	name           text NOT NULL,
	applied        timestamptz NOT NULL DEFAULT now()
);

-- ---- the ring: new mail ------------------------------------------------------------------------------------------
-- One set of tables per number `part`. A set is append only and ends in TRUNCATE, so nothing here ever waits for VACUUM. The
-- partitioned parents are for views; every hot statement names the set's own table.

CREATE TABLE mailq.ring (
	part  int2 PRIMARY KEY,
	state text NOT NULL CHECK (state IN ('open', 'draining', 'empty')),
	since timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);
CREATE UNIQUE INDEX ring_one_open ON mailq.ring (state) WHERE state = 'open';

-- A batch: the messages of one group commit that nobody claimed yet. Ids come from one sequence inside the inserting
-- statement: nearly in commit order, as the claim's low-water mark needs.
CREATE SEQUENCE mailq.batch_seq;
CREATE TABLE mailq.batch (
	batch_id   int8 NOT NULL,
	part       int2 NOT NULL,
	msg_ids    int8[] NOT NULL, -- rule 1: messages finish out of order, a range would catch others' messages
	recipients int4 NOT NULL,
	bytes      int8 NOT NULL,
	created    timestamptz NOT NULL DEFAULT now()
) PARTITION BY LIST (part);

-- A lease: a claimed batch.
CREATE TABLE mailq.active (
	batch_id   int8 NOT NULL,
	part       int2 NOT NULL,
	msg_ids    int8[] NOT NULL,
	recipients int4 NOT NULL,
	bytes      int8 NOT NULL,
	owner      int8 NOT NULL, -- epoch of a node
	claimed    timestamptz NOT NULL DEFAULT now()
) PARTITION BY LIST (part);

-- A message, its recipients as lines of text: cheaper than arrays both to write and to read, and they grow with large lists
-- only linearly (rule 11). mailq.rcpts() expands them.
CREATE TABLE mailq.incoming (
	msg_id       int8 NOT NULL,
	part         int2 NOT NULL,
	arrival      timestamptz NOT NULL,
	size         int8 NOT NULL,
	content_id   int8,          -- an uploaded content
	recipients   int4 NOT NULL,
	sender       text NOT NULL,
	attrs        text NOT NULL, -- name, value, name, value: a line each
	rcpts        text NOT NULL, -- a line each, as the following
	orig_addrs   text,          -- empty line: same as the address. NULL: all are
	dsn_orcpts   text,          -- empty line: none. NULL: all are
	dsn_notifies text,          -- a number each; NULL: all 0
	content      bytea          -- NULL when uploaded
) PARTITION BY LIST (part);

-- Settled recipients of batches that are not settled as a whole yet.
CREATE TABLE mailq.result (
	batch_id int8 NOT NULL,
	part     int2 NOT NULL,
	msg_id   int8 NOT NULL,
	rcpt_no  int4 NOT NULL,
	outcome  text NOT NULL,
	at       timestamptz NOT NULL
) PARTITION BY LIST (part);

CREATE FUNCTION mailq.rcpts(rcpts text, orig_addrs text, dsn_orcpts text, dsn_notifies text)
RETURNS TABLE (rcpt_no int4, addr text, orig_addr text, dsn_orcpt text, dsn_notify int4)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10 AS $$
	SELECT (n - 1)::int4, a, nullif(o, ''), nullif(d, ''), coalesce(t::int4, 0)
	FROM unnest(string_to_array(rcpts, E'\n'), string_to_array(orig_addrs, E'\n'),
		string_to_array(dsn_orcpts, E'\n'), string_to_array(dsn_notifies, E'\n')) WITH ORDINALITY u(a, o, d, t, n)
$$;

-- A new set. CREATE TABLE ... PARTITION OF would lock readers out of the parent, CREATE and ATTACH does not. Autovacuum stays off:
-- an ANALYZE of an empty set would make the planner read it from end to end for the rest of its life.
CREATE FUNCTION mailq.ring_grow(set_limit int4) RETURNS int2
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p int4;
	t text;
BEGIN
	PERFORM pg_advisory_xact_lock(7261001);
	SELECT coalesce(max(part) + 1, 0) INTO p FROM mailq.ring;
	IF p >= set_limit THEN
		RETURN NULL;
	END IF;
	EXECUTE format('CREATE TABLE mailq.batch_%1$s (LIKE mailq.batch INCLUDING DEFAULTS,
			PRIMARY KEY (batch_id)) WITH (autovacuum_enabled = off);
		CREATE TABLE mailq.active_%1$s (LIKE mailq.active INCLUDING DEFAULTS,
			PRIMARY KEY (batch_id)) WITH (autovacuum_enabled = off);
		CREATE TABLE mailq.incoming_%1$s (LIKE mailq.incoming INCLUDING DEFAULTS,
			PRIMARY KEY (msg_id)) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
		CREATE TABLE mailq.result_%1$s (LIKE mailq.result INCLUDING DEFAULTS,
			PRIMARY KEY (batch_id, msg_id, rcpt_no)) WITH (autovacuum_enabled = off);
		ALTER TABLE mailq.incoming_%1$s ALTER content SET COMPRESSION lz4, ALTER rcpts SET COMPRESSION lz4,
			ALTER orig_addrs SET COMPRESSION lz4, ALTER dsn_orcpts SET COMPRESSION lz4', p);
	FOREACH t IN ARRAY ARRAY['batch', 'active', 'incoming', 'result'] LOOP
		EXECUTE format('ALTER TABLE mailq.%1$s ATTACH PARTITION mailq.%1$s_%2$s FOR VALUES IN (%2$s)', t, p);
	END LOOP;
	EXECUTE format('GRANT INSERT ON mailq.batch_%1$s, mailq.incoming_%1$s TO rowpost_front;
		GRANT SELECT, INSERT, UPDATE, DELETE ON mailq.batch_%1$s, mailq.active_%1$s TO rowpost_scheduler;
		GRANT SELECT, INSERT ON mailq.incoming_%1$s, mailq.result_%1$s TO rowpost_scheduler', p);
	INSERT INTO mailq.ring (part, state) VALUES (p, 'empty');
	RETURN p;
END $$;

-- Closes the open set and opens an empty one, when the open one is older or larger than wanted and not idle. Locks no table: who
-- still inserts into the old set does nothing wrong, since all sets are polled. Returns the set that was opened, or NULL.
CREATE FUNCTION mailq.ring_rotate(max_age interval, max_bytes int8, set_limit int4) RETURNS int2
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	old mailq.ring;
	fresh int2;
	bytes int8;
BEGIN
	IF NOT pg_try_advisory_xact_lock(7261002) THEN
		RETURN NULL;
	END IF;
	SELECT * INTO old FROM mailq.ring WHERE state = 'open';
	IF FOUND THEN
		bytes := pg_table_size(format('mailq.incoming_%s', old.part)::regclass);
		-- An idle set does not rotate; pg_table_size() of an empty one counts its TOAST index page.
		IF pg_relation_size(format('mailq.incoming_%s', old.part)::regclass) = 0
			OR (old.since > clock_timestamp() - max_age AND bytes < max_bytes) THEN
			RETURN NULL;
		END IF;
	END IF;
	SELECT part INTO fresh FROM mailq.ring WHERE state = 'empty' ORDER BY since LIMIT 1;
	IF NOT FOUND THEN
		fresh := mailq.ring_grow(set_limit);
	END IF;
	IF fresh IS NULL THEN
		RETURN NULL; -- full: the open set simply goes on growing
	END IF;
	UPDATE mailq.ring SET state = 'draining', since = clock_timestamp() WHERE state = 'open';
	UPDATE mailq.ring SET state = 'open', since = clock_timestamp() WHERE part = fresh;
	RETURN fresh;
END $$;

-- Empties a set that was drained: true when done, false when something is in it or somebody uses it: try again later. Never waits for
-- a lock, since everybody else would then wait behind it. A set must have been closed for min_age, longer than a
-- front end tries to store a message whose commit was in doubt: its second try must find the first (rule 10).
-- To be called as a transaction of its own, READ COMMITTED: the second look needs a new snapshot, under the lock.
CREATE FUNCTION mailq.ring_truncate(p int2, min_age interval) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	busy bool;
	look text := format('SELECT EXISTS (SELECT FROM mailq.batch_%1$s) OR EXISTS (SELECT FROM mailq.active_%1$s)', p);
BEGIN
	PERFORM FROM mailq.ring WHERE part = p AND state = 'draining' AND since < clock_timestamp() - min_age
		FOR UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	EXECUTE look INTO busy;
	IF busy THEN
		RETURN false;
	END IF;
	EXECUTE format('LOCK TABLE mailq.batch_%1$s, mailq.active_%1$s, mailq.incoming_%1$s, mailq.result_%1$s
		IN ACCESS EXCLUSIVE MODE NOWAIT', p);
	EXECUTE look INTO busy;
	IF busy THEN
		RETURN false;
	END IF;
	EXECUTE format('TRUNCATE mailq.batch_%1$s, mailq.active_%1$s, mailq.incoming_%1$s, mailq.result_%1$s', p);
	UPDATE mailq.ring SET state = 'empty', since = clock_timestamp() WHERE part = p;
	RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
	RETURN false;
END $$;

-- ---- survivors ---------------------------------------------------------------------------------------------------

CREATE TABLE mailq.deferred_message (
	msg_id        int8 PRIMARY KEY,
	arrival       timestamptz NOT NULL,
	size          int8 NOT NULL,
	content_id    int8,
	recipients    int4 NOT NULL, -- of the message as it came
	expires_at    timestamptz NOT NULL, -- rule 7; infinity while no scheduler has seen it
	warn_at       timestamptz,
	forced_expire bool NOT NULL DEFAULT false,
	sender        text NOT NULL,
	attrs         text NOT NULL,
	content       bytea
);
ALTER TABLE mailq.deferred_message ALTER content SET COMPRESSION lz4;
CREATE INDEX deferred_message_expires ON mailq.deferred_message (expires_at);
CREATE INDEX deferred_message_warn ON mailq.deferred_message (warn_at) WHERE warn_at IS NOT NULL;

-- A recipient that is to be tried again. owner: epoch of the node that has it in its hands.
CREATE TABLE mailq.deferred (
	msg_id       int8 NOT NULL,
	destination  int8 NOT NULL, -- where it was resolved to last; resolved anew at each attempt
	next_attempt timestamptz NOT NULL,
	owner        int8,
	rcpt_no      int4 NOT NULL,
	attempts     int4 NOT NULL,
	dsn_notify   int4 NOT NULL,
	addr         text NOT NULL,
	orig_addr    text,
	dsn_orcpt    text,
	dsn          text NOT NULL,
	reason       text NOT NULL,
	remote_mta   text, -- who said so, for the sender's report; NULL: nobody
	diagnostic   text,
	PRIMARY KEY (msg_id, rcpt_no),
	FOREIGN KEY (msg_id) REFERENCES mailq.deferred_message -- rule 3
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX deferred_due ON mailq.deferred (destination, next_attempt) WHERE owner IS NULL;
CREATE INDEX deferred_owner ON mailq.deferred (owner) WHERE owner IS NOT NULL;
-- The mail of a site: ETRN, postqueue -s, rowpost.queue.
CREATE INDEX deferred_domain ON mailq.deferred (lower(substring(addr FROM '@([^@]*)$')));

CREATE TABLE mailq.held (
	msg_id      int8 NOT NULL,
	destination int8 NOT NULL,
	rcpt_no     int4 NOT NULL,
	attempts    int4 NOT NULL,
	dsn_notify  int4 NOT NULL,
	held_at     timestamptz NOT NULL DEFAULT now(),
	addr        text NOT NULL,
	orig_addr   text,
	dsn_orcpt   text,
	dsn         text NOT NULL,
	reason      text NOT NULL,
	remote_mta  text,
	diagnostic  text,
	why         text NOT NULL,
	PRIMARY KEY (msg_id, rcpt_no),
	FOREIGN KEY (msg_id) REFERENCES mailq.deferred_message
);
CREATE INDEX held_domain ON mailq.held (lower(substring(addr FROM '@([^@]*)$')));

-- What senders are still to be told. kind: bits of DSN NOTIFY: 2 success, 4 failure, 8 delay.
CREATE TABLE mailq.notification (
	msg_id     int8 NOT NULL,
	rcpt_no    int4 NOT NULL,
	kind       int4 NOT NULL CHECK (kind IN (2, 4, 8)),
	dsn_notify int4 NOT NULL,
	at         timestamptz NOT NULL,
	action     text NOT NULL,
	addr       text NOT NULL,
	orig_addr  text,
	dsn_orcpt  text,
	dsn        text NOT NULL,
	reason     text NOT NULL,
	remote_mta text NOT NULL,
	diagnostic text NOT NULL,
	PRIMARY KEY (msg_id, rcpt_no, kind),
	FOREIGN KEY (msg_id) REFERENCES mailq.deferred_message
);
CREATE INDEX notification_at ON mailq.notification (at);

-- Where deferred mail is to go: the unit of its claims, so that a dead destination costs one row however much it owns.
CREATE TABLE mailq.destination (
	destination_id int8 PRIMARY KEY,
	next_due       timestamptz, -- of its free rows; NULL: none
	dead_until     timestamptz,
	fails          int4 NOT NULL DEFAULT 0,
	changed        timestamptz NOT NULL DEFAULT now(),
	transport      text NOT NULL,
	nexthop        text NOT NULL,
	dead_reason    text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX destination_nexthop ON mailq.destination (lower(nexthop));
CREATE INDEX destination_due ON mailq.destination (greatest(next_due, dead_until)) WHERE next_due IS NOT NULL;

-- No sequence, no lookup, and the same in every database.
CREATE FUNCTION mailq.destination_id(transport text, nexthop text) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtextextended(transport || ':' || nexthop, 0) $$;

-- Where mail goes that no scheduler has looked at yet.
INSERT INTO mailq.destination (destination_id, transport, nexthop) VALUES (mailq.destination_id('', ''), '', '');

-- Mail is due at a destination. Locks the row in any case: a claim that computes next_due at this moment comes before us
-- and we lower what it wrote, or after us and it sees our rows.
CREATE FUNCTION mailq.destination_due(transports text[], nexthops text[], due timestamptz[]) RETURNS void
LANGUAGE sql AS $$
	INSERT INTO mailq.destination AS d (destination_id, transport, nexthop, next_due)
	SELECT mailq.destination_id(t, n) AS id, t, n, min(w) FROM unnest(transports, nexthops, due) u(t, n, w)
	GROUP BY t, n ORDER BY id
	ON CONFLICT (destination_id) DO UPDATE SET next_due = least(d.next_due, excluded.next_due)
	WHERE d.next_due IS NULL OR d.next_due > excluded.next_due
$$;

-- ---- large contents (rule 2) -------------------------------------------------------------------------------------

CREATE TABLE mailq.large (
	content_id  int8 PRIMARY KEY,       -- random
	front_epoch int8 NOT NULL,          -- mailq.process of who uploads it
	state       text NOT NULL CHECK (state IN ('uploading', 'queued', 'dead')),
	size        int8 NOT NULL DEFAULT 0,
	msg_id      int8,                   -- whose content it is, once queued
	started     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX large_not_queued ON mailq.large (started) WHERE state <> 'queued';

CREATE TABLE mailq.large_chunk (
	content_id int8 NOT NULL,
	start      int8 NOT NULL, -- offset of its first byte
	data       bytea NOT NULL,
	PRIMARY KEY (content_id, start)
);
ALTER TABLE mailq.large_chunk ALTER data SET STORAGE EXTERNAL;

-- Makes an upload part of the queue; an error when it is not there any more, for then the message must not be accepted.
CREATE FUNCTION mailq.large_queue(content int8, front int8, bytes int8, message int8) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- coalesce(): the sum over no chunk must be an error too
	UPDATE mailq.large SET state = 'queued', size = bytes, msg_id = message
	WHERE content_id = content AND front_epoch = front AND state = 'uploading'
		AND bytes = (SELECT coalesce(sum(octet_length(data)), 0) FROM mailq.large_chunk c WHERE c.content_id = content);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'upload % is not complete', content USING ERRCODE = 'data_exception';
	END IF;
END $$;

-- An upload that came to nothing, by who began it.
CREATE FUNCTION mailq.large_drop(content int8, front int8) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE mailq.large SET state = 'dead' WHERE content_id = content AND front_epoch = front AND state = 'uploading'
$$;

-- ---- processes and nodes -----------------------------------------------------------------------------------------

-- Who mints message ids (rule 1). reserved: microseconds since 2020; all ids of this number up to there may have been minted. A holder
-- mints below it only, and the next holder begins there, so that no id is minted twice, whoever is alive.
CREATE TABLE mailq.process (
	number     int2 PRIMARY KEY CHECK (number BETWEEN 0 AND 4095),
	epoch      int8 NOT NULL UNIQUE,
	reserved   int8 NOT NULL,
	registered timestamptz NOT NULL DEFAULT now(),
	renewed    timestamptz NOT NULL DEFAULT now(),
	node       text NOT NULL,
	program    text NOT NULL
);

-- A number for a process: one that was not renewed for a while, else a new one. Returns nothing when all are in use.
CREATE FUNCTION mailq.process_register(first int4, last int4, my_epoch int8, now_us int8, ahead int8,
	my_node text, my_program text, OUT my_number int4, OUT low int8, OUT high int8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(7261003);
	SELECT number, reserved INTO my_number, low FROM mailq.process
	WHERE number BETWEEN first AND last AND renewed < clock_timestamp() - interval '90 s'
	ORDER BY reserved LIMIT 1;
	IF FOUND THEN
		low := greatest(low, now_us);
		high := low + ahead;
		UPDATE mailq.process SET epoch = my_epoch, reserved = high, registered = clock_timestamp(),
			renewed = clock_timestamp(), node = my_node, program = my_program WHERE number = my_number;
		RETURN;
	END IF;
	SELECT n INTO my_number FROM generate_series(first, last) n
	WHERE NOT EXISTS (SELECT FROM mailq.process p WHERE p.number = n) ORDER BY n LIMIT 1;
	IF NOT FOUND THEN
		my_number := NULL;
		RETURN;
	END IF;
	low := now_us;
	high := low + ahead;
	INSERT INTO mailq.process (number, epoch, reserved, node, program)
	VALUES (my_number, my_epoch, high, my_node, my_program);
END $$;

-- Extends the reservation; NULL when somebody else has the number by now.
CREATE FUNCTION mailq.process_renew(my_epoch int8, now_us int8, ahead int8) RETURNS int8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE mailq.process SET reserved = greatest(reserved, now_us + ahead), renewed = clock_timestamp()
	WHERE epoch = my_epoch RETURNING reserved
$$;

-- An orderly end: the number is free at once. What was reserved stays reserved.
CREATE FUNCTION mailq.process_leave(my_epoch int8) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	UPDATE mailq.process SET renewed = '-infinity' WHERE epoch = my_epoch
$$;

-- A running scheduler (rule 8). beat counts; nobody compares clocks.
CREATE TABLE mailq.node (
	epoch   int8 PRIMARY KEY,
	beat    int8 NOT NULL DEFAULT 0,
	started timestamptz NOT NULL DEFAULT now(),
	changed timestamptz NOT NULL DEFAULT now(), -- of the state
	drain   bool NOT NULL DEFAULT false,        -- wanted by an operator
	state   text NOT NULL CHECK (state IN ('up', 'draining', 'dead')),
	name    text NOT NULL
) WITH (fillfactor = 20);

-- Limits over all nodes, by destination. Each node that has mail for it has a block of slots, given out under the lock of the limit's row.
CREATE TABLE mailq.cluster_limit (
	name  text PRIMARY KEY,
	turns int8 NOT NULL DEFAULT 0 -- counts what was given out
) WITH (fillfactor = 50);
CREATE TABLE mailq.cluster_limit_block (
	name    text NOT NULL REFERENCES mailq.cluster_limit ON DELETE CASCADE,
	epoch   int8 NOT NULL,
	slots   int4 NOT NULL CHECK (slots >= 0),
	want    int4 NOT NULL,           -- deliveries that it would run at once
	turn    int8 NOT NULL DEFAULT 0, -- when it got a slot last
	PRIMARY KEY (name, epoch)
) WITH (fillfactor = 50);

-- ---- history -----------------------------------------------------------------------------------------------------
-- One row for each recipient's end. Partitions of a day; the queue id index while the day is open, the others when it closes (rule 16).

CREATE TABLE mailq.history (
	at        timestamptz NOT NULL, -- chosen by who reports: a repeated report is no second row
	arrival   timestamptz NOT NULL,
	msg_id    int8 NOT NULL,
	size      int8 NOT NULL,
	rcpt_no   int4 NOT NULL,
	attempts  int4 NOT NULL,
	outcome   text NOT NULL,
	dsn       text NOT NULL,
	sender    text NOT NULL,
	recipient text NOT NULL,
	transport text NOT NULL,
	relay     text NOT NULL,
	reason    text NOT NULL
) PARTITION BY RANGE (at);

CREATE FUNCTION mailq.history_grow(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE leaf text := 'history_' || to_char(day, 'YYYYMMDD');
BEGIN
	IF to_regclass('mailq.' || leaf) IS NOT NULL THEN
		RETURN;
	END IF;
	PERFORM pg_advisory_xact_lock(7261004);
	IF to_regclass('mailq.' || leaf) IS NOT NULL THEN
		RETURN;
	END IF;
	EXECUTE format('CREATE TABLE mailq.%1$I (LIKE mailq.history INCLUDING DEFAULTS,
			CONSTRAINT %2$I UNIQUE (msg_id, rcpt_no, at));
		ALTER TABLE mailq.history ATTACH PARTITION mailq.%1$I FOR VALUES FROM (%3$L) TO (%4$L);
		GRANT SELECT ON mailq.%1$I TO rowpost_operator, rowpost_monitor;
		GRANT SELECT, INSERT ON mailq.%1$I TO rowpost_scheduler', leaf, leaf || '_id', day, day + 1);
END $$;

-- Today and the next days exist, yesterday's get their further indexes, old ones go. Gives up at once where somebody is in the way.
CREATE FUNCTION mailq.history_keep(keep interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '50ms' AS $$
DECLARE
	today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
	leaf text;
	day date;
BEGIN
	IF NOT pg_try_advisory_xact_lock(7261005) THEN
		RETURN;
	END IF;
	FOR i IN -1 .. 3 LOOP
		PERFORM mailq.history_grow(today + i);
	END LOOP;
	FOR leaf IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'mailq.history'::regclass ORDER BY 1 LOOP
		day := to_date(right(leaf, 8), 'YYYYMMDD');
		IF day + 1 < (clock_timestamp() - keep)::date THEN
			EXECUTE format('DROP TABLE mailq.%I', leaf);
		ELSIF day < today - 1 AND to_regclass('mailq.' || leaf || '_recipient') IS NULL THEN
			EXECUTE format('CREATE INDEX %2$I ON mailq.%1$I (recipient);
				CREATE INDEX %3$I ON mailq.%1$I (sender);
				CREATE INDEX %4$I ON mailq.%1$I USING brin (at)',
				leaf, leaf || '_recipient', leaf || '_sender', leaf || '_at');
			RETURN; -- one day at a time
		END IF;
	END LOOP;
EXCEPTION WHEN lock_not_available THEN
	NULL;
END $$;

-- ---- operators' orders (rule 13) ---------------------------------------------------------------------------------

CREATE TABLE mailq.queue_order (
	order_id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	msg_id   int8 NOT NULL,
	rcpt_no  int4 NOT NULL DEFAULT -1, -- -1: all
	verb     text NOT NULL CHECK (verb IN ('hold', 'release', 'requeue', 'delete', 'expire', 'bounce', 'flush', 'reroute')),
	given    timestamptz NOT NULL DEFAULT now(),
	done     timestamptz,
	who      text NOT NULL,
	why      text NOT NULL,
	transport text, -- of reroute
	nexthop   text
);
CREATE INDEX queue_order_pending ON mailq.queue_order (order_id) WHERE done IS NULL;
CREATE INDEX queue_order_given ON mailq.queue_order (given);
-- A message that comes to `deferred` while its expiry is ordered is not to be tried again; and orders are carried out in turn.
CREATE INDEX queue_order_of_message ON mailq.queue_order (msg_id, order_id) WHERE done IS NULL;

-- When operators flushed destinations last, for schedulers that keep dead ones in memory.
CREATE TABLE mailq.flush (
	one    bool        PRIMARY KEY DEFAULT true CHECK (one),
	at     timestamptz NOT NULL DEFAULT '-infinity',
	all_at timestamptz NOT NULL DEFAULT '-infinity' -- the same, of all mail
);
INSERT INTO mailq.flush DEFAULT VALUES;

-- Messages that nothing refers to any more go, with their content. Two statements: the second sees what was committed while the
-- first waited for the locks (rule 3).
CREATE FUNCTION mailq.collect(ids int8[]) RETURNS int8
LANGUAGE plpgsql AS $$
DECLARE n int8;
BEGIN
	PERFORM FROM mailq.deferred_message WHERE msg_id = ANY (ids) ORDER BY msg_id FOR UPDATE;
	WITH gone AS (
		DELETE FROM mailq.deferred_message m WHERE msg_id = ANY (ids)
			AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id)
			AND NOT EXISTS (SELECT FROM mailq.held h WHERE h.msg_id = m.msg_id)
			AND NOT EXISTS (SELECT FROM mailq.notification t WHERE t.msg_id = m.msg_id)
			-- While a lease has other recipients of it, an uploaded content is still needed there.
			AND (content_id IS NULL OR NOT EXISTS (SELECT FROM mailq.active a WHERE m.msg_id = ANY (a.msg_ids)))
		RETURNING content_id),
	dead AS (
		UPDATE mailq.large l SET state = 'dead' FROM gone WHERE l.content_id = gone.content_id)
	SELECT count(*) INTO n FROM gone;
	RETURN n;
END $$;

-- ---- grants ------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA mailq TO rowpost_front, rowpost_scheduler, rowpost_operator, rowpost_monitor;
GRANT USAGE ON SCHEMA rowpost TO rowpost_operator, rowpost_monitor;
GRANT SELECT ON mailq.schema_version TO rowpost_front, rowpost_scheduler, rowpost_operator, rowpost_monitor;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA mailq FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.rcpts, mailq.destination_id
	TO rowpost_front, rowpost_scheduler, rowpost_operator, rowpost_monitor;

-- A front end can put mail in; it can neither read nor change what is there.
GRANT SELECT ON mailq.ring TO rowpost_front;
GRANT USAGE ON SEQUENCE mailq.batch_seq TO rowpost_front;
GRANT INSERT ON mailq.deferred_message, mailq.held, mailq.large, mailq.large_chunk TO rowpost_front;
GRANT EXECUTE ON FUNCTION mailq.large_queue, mailq.large_drop, mailq.process_register, mailq.process_renew,
	mailq.process_leave TO rowpost_front;

GRANT SELECT ON mailq.ring, mailq.history, mailq.process TO rowpost_scheduler;
GRANT USAGE ON SEQUENCE mailq.batch_seq TO rowpost_scheduler;
GRANT SELECT ON mailq.batch, mailq.active, mailq.incoming, mailq.result TO rowpost_scheduler;
GRANT SELECT, INSERT, UPDATE, DELETE ON mailq.deferred_message, mailq.deferred, mailq.held, mailq.notification,
	mailq.destination, mailq.large, mailq.large_chunk, mailq.node, mailq.queue_order TO rowpost_scheduler;
GRANT SELECT ON mailq.flush TO rowpost_scheduler;
GRANT INSERT ON mailq.history TO rowpost_scheduler;
GRANT EXECUTE ON FUNCTION mailq.ring_rotate, mailq.ring_truncate, mailq.history_grow, mailq.history_keep, mailq.collect,
	mailq.destination_due, mailq.process_register, mailq.process_renew, mailq.process_leave TO rowpost_scheduler;

-- The first sets, the first days.
DO $$
BEGIN
	FOR i IN 1 .. 8 LOOP
		PERFORM mailq.ring_grow(8);
	END LOOP;
	UPDATE mailq.ring SET state = 'open' WHERE part = 0;
	PERFORM mailq.history_keep(interval '30 days');
END $$;
