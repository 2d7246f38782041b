-- The operators' API: views of the whole cluster's queue, and functions that change it, by any WHERE:
--
--	SELECT * FROM rowpost.queue WHERE recipient LIKE '%@example.com';
--	SELECT rowpost.hold(array_agg(DISTINCT msg_id), 'spam run') FROM rowpost.queue WHERE sender = 'x@example.org';

-- ---- queue ids ---------------------------------------------------------------------------------------------------
-- The printed form of a msg_id, as src/mail/mail_queue_id.h has it.

CREATE FUNCTION mailq.digits(n int8, base int4, width int4) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	alphabet constant text := '0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz';
	out text := '';
BEGIN
	WHILE n > 0 LOOP
		out := substr(alphabet, (n % base)::int4 + 1, 1) || out;
		n := n / base;
	END LOOP;
	RETURN lpad(out, greatest(width, length(out)), '0');
END $$;

CREATE FUNCTION mailq.number(digits text, base int4) RETURNS int8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
	alphabet constant text := '0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz';
	out int8 := 0;
	d int4;
BEGIN
	FOR i IN 1 .. length(digits) LOOP
		d := strpos(alphabet, substr(digits, i, 1)) - 1;
		IF d < 0 OR d >= base OR out > 1000000000000 THEN
			RETURN NULL;
		END IF;
		out := out * base + d;
	END LOOP;
	RETURN out;
END $$;

CREATE FUNCTION rowpost.queue_id(msg_id int8) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
	SELECT mailq.digits((msg_id >> 12) / 1000000 + 1577836800, 52, 6)
		|| mailq.digits((msg_id >> 12) % 1000000, 52, 4) || 'z' || mailq.digits((msg_id & 4095) + 1, 51, 1)
$$;

-- NULL for a text that is no queue id.
CREATE FUNCTION rowpost.msg_id(queue_id text) RETURNS int8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
	SELECT ((mailq.number(p[1], 52) - 1577836800) * 1000000 + mailq.number(p[2], 52)) * 4096 + mailq.number(p[3], 51) - 1
	FROM regexp_match(queue_id, '^([0-9A-Za-z]{6,7})([0-9A-Za-z]{4})z([0-9A-Za-y]+)$') p
$$;

-- ---- views -------------------------------------------------------------------------------------------------------

-- One row for each recipient that somebody still has to do something about. By msg_id and by domain (in lower case) it is looked up by an
-- index; mail in the ring is read, which is what is on its way just now.
CREATE VIEW rowpost.queue AS
SELECT rowpost.queue_id(i.msg_id) AS queue_id, 'incoming' AS queue, i.sender, r.addr AS recipient, i.size, i.arrival,
	0 AS attempts, NULL::timestamptz AS next_attempt, '' AS reason, NULL AS transport, NULL AS nexthop, NULL AS node,
	r.orig_addr, false AS forced_expire, i.msg_id, r.rcpt_no, lower(substring(r.addr FROM '@([^@]*)$')) AS domain
FROM mailq.batch b, unnest(b.msg_ids) m JOIN mailq.incoming i ON i.msg_id = m,
	mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) r
WHERE i.part = b.part
UNION ALL
SELECT rowpost.queue_id(i.msg_id), 'active', i.sender, r.addr, i.size, i.arrival,
	0, NULL, '', NULL, NULL, n.name, r.orig_addr, EXISTS (SELECT FROM mailq.queue_order o WHERE o.msg_id = i.msg_id
		AND o.done IS NULL AND o.verb IN ('expire', 'bounce')), i.msg_id, r.rcpt_no, lower(substring(r.addr FROM '@([^@]*)$'))
FROM mailq.active a LEFT JOIN mailq.node n ON n.epoch = a.owner, unnest(a.msg_ids) m JOIN mailq.incoming i ON i.msg_id = m,
	-- Result by result: as an anti-join the planner, who expects few, compares every recipient with every result of a long list.
	LATERAL (SELECT addr, orig_addr, rcpt_no FROM mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) l
		WHERE (SELECT true FROM mailq.result x WHERE x.part = a.part AND x.batch_id = a.batch_id
			AND x.msg_id = i.msg_id AND x.rcpt_no = l.rcpt_no) IS NULL) r
WHERE i.part = a.part
UNION ALL
SELECT rowpost.queue_id(d.msg_id), CASE WHEN d.owner IS NULL THEN 'deferred' ELSE 'active' END, m.sender, d.addr, m.size, m.arrival,
	d.attempts, CASE WHEN m.forced_expire THEN m.expires_at ELSE greatest(d.next_attempt, t.dead_until) END, d.reason, t.transport, t.nexthop, n.name,
	d.orig_addr, m.forced_expire, d.msg_id, d.rcpt_no, lower(substring(d.addr FROM '@([^@]*)$'))
FROM mailq.deferred d JOIN mailq.deferred_message m USING (msg_id)
	LEFT JOIN mailq.destination t ON t.destination_id = d.destination LEFT JOIN mailq.node n ON n.epoch = d.owner
UNION ALL
SELECT rowpost.queue_id(h.msg_id), 'hold', m.sender, h.addr, m.size, m.arrival,
	h.attempts, NULL, CASE WHEN h.reason <> '' THEN h.reason ELSE h.why END, t.transport, t.nexthop, NULL,
	h.orig_addr, m.forced_expire, h.msg_id, h.rcpt_no, lower(substring(h.addr FROM '@([^@]*)$'))
FROM mailq.held h JOIN mailq.deferred_message m USING (msg_id)
	LEFT JOIN mailq.destination t ON t.destination_id = h.destination;

-- One row for each message.
CREATE VIEW rowpost.message AS
SELECT rowpost.queue_id(msg_id) AS queue_id, 'incoming' AS queue, sender, size, arrival, i.recipients,
	NULL::timestamptz AS expires_at, jsonb_object(string_to_array(nullif(attrs, ''), E'\n')) AS attributes, msg_id
FROM mailq.batch b, unnest(b.msg_ids) m JOIN mailq.incoming i ON i.msg_id = m
WHERE i.part = b.part
UNION ALL
SELECT rowpost.queue_id(msg_id), 'active', sender, size, arrival, i.recipients, NULL,
	jsonb_object(string_to_array(nullif(attrs, ''), E'\n')), msg_id
FROM mailq.active a, unnest(a.msg_ids) m JOIN mailq.incoming i ON i.msg_id = m
WHERE i.part = a.part AND i.recipients > (SELECT count(*) FROM mailq.result x
	WHERE x.part = a.part AND x.batch_id = a.batch_id AND x.msg_id = i.msg_id)
UNION ALL
SELECT rowpost.queue_id(msg_id), CASE
		WHEN EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id AND owner IS NOT NULL) THEN 'active'
		WHEN EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id) THEN 'deferred'
		WHEN EXISTS (SELECT FROM mailq.held h WHERE h.msg_id = m.msg_id) THEN 'hold'
		ELSE 'notification' END,
	sender, size, arrival, recipients, nullif(expires_at, 'infinity'),
	jsonb_object(string_to_array(nullif(attrs, ''), E'\n')), msg_id
FROM mailq.deferred_message m;

-- Where deferred mail is to go. Counting is left to who wants it: queued is one index range per destination.
CREATE VIEW rowpost.destination AS
SELECT transport, nexthop, next_due, dead_until, dead_reason, fails, changed,
	(SELECT count(*) FROM mailq.deferred d WHERE d.destination = t.destination_id AND owner IS NULL) AS waiting,
	(SELECT count(*) FROM mailq.deferred d WHERE d.destination = t.destination_id AND owner IS NOT NULL) AS active
FROM mailq.destination t;

CREATE VIEW rowpost.node AS
SELECT name, state, drain, started, changed, beat, epoch,
	(SELECT count(*) FROM mailq.active a WHERE a.owner = n.epoch) AS leases,
	(SELECT coalesce(sum(cardinality(msg_ids)), 0) FROM mailq.active a WHERE a.owner = n.epoch) AS messages,
	(SELECT count(*) FROM mailq.deferred d WHERE d.owner = n.epoch) AS retries
FROM mailq.node n;

CREATE VIEW rowpost.history AS
SELECT rowpost.queue_id(msg_id) AS queue_id, at, outcome, sender, recipient, dsn, relay, reason, transport, attempts, size, arrival,
	at - arrival AS delay, msg_id, rcpt_no
FROM mailq.history;

CREATE VIEW rowpost.queue_order AS
SELECT order_id, rowpost.queue_id(msg_id) AS queue_id, verb, given, done, who, why, msg_id FROM mailq.queue_order;

-- State of the ring, for monitoring: many draining sets mean that somebody keeps them from being emptied.
CREATE VIEW rowpost.ring AS
SELECT part, state, since,
	(SELECT count(*) FROM mailq.batch b WHERE b.part = r.part) AS batches,
	(SELECT count(*) FROM mailq.active a WHERE a.part = r.part) AS leases,
	pg_table_size(format('mailq.incoming_%s', part)::regclass) AS bytes
FROM mailq.ring r;

-- ---- orders ------------------------------------------------------------------------------------------------------

-- New mail that nobody claimed becomes deferred mail that is due, so that orders can treat it alike. A batch that is locked is being
-- claimed: its messages will be found with their owner.
CREATE FUNCTION mailq.take_out(ids int8[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b record;
	mine int8[];
	nowhere constant int8 := mailq.destination_id('', '');
BEGIN
	FOR b IN SELECT part, batch_id FROM mailq.batch x WHERE EXISTS (
			SELECT FROM unnest(x.msg_ids) m JOIN unnest(ids) w ON w = m)
		ORDER BY part, batch_id FOR UPDATE SKIP LOCKED LOOP
		SELECT array_agg(m) INTO mine FROM mailq.batch x, unnest(x.msg_ids) m JOIN unnest(ids) w ON w = m
		WHERE x.part = b.part AND x.batch_id = b.batch_id;
		INSERT INTO mailq.deferred_message (msg_id, arrival, size, content_id, recipients, expires_at, sender, attrs, content)
		SELECT msg_id, arrival, size, content_id, recipients, 'infinity', sender, attrs, content
		FROM mailq.incoming WHERE part = b.part AND msg_id = ANY (mine);
		INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason)
		SELECT msg_id, nowhere, now(), r.rcpt_no, 0, r.dsn_notify, r.addr, r.orig_addr, r.dsn_orcpt, '', ''
		FROM mailq.incoming i, mailq.rcpts(i.rcpts, i.orig_addrs, i.dsn_orcpts, i.dsn_notifies) r
		WHERE i.part = b.part AND msg_id = ANY (mine);
		UPDATE mailq.batch x SET msg_ids = ARRAY(SELECT m FROM unnest(x.msg_ids) m WHERE m <> ALL (mine)),
			recipients = x.recipients - s.recipients, bytes = x.bytes - s.bytes
		FROM (SELECT sum(recipients)::int4 AS recipients, sum(CASE WHEN content_id IS NULL THEN size ELSE 0 END)::int8 AS bytes
			FROM mailq.incoming WHERE part = b.part AND msg_id = ANY (mine)) s
		WHERE x.part = b.part AND x.batch_id = b.batch_id;
		DELETE FROM mailq.incoming WHERE part = b.part AND msg_id = ANY (mine);
		DELETE FROM mailq.batch WHERE part = b.part AND batch_id = b.batch_id AND msg_ids = '{}';
		PERFORM mailq.destination_due(ARRAY[''], ARRAY[''], ARRAY[now()]);
	END LOOP;
END $$;

-- Mail of these destinations is due at once, and none of them is dead.
CREATE FUNCTION mailq.revive(destinations int8[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH d AS (SELECT destination_id FROM mailq.destination WHERE destination_id = ANY (destinations)
		ORDER BY 1 FOR UPDATE)
	UPDATE mailq.destination t SET next_due = least(next_due, now()), dead_until = NULL, dead_reason = NULL
	FROM d WHERE t.destination_id = d.destination_id;
	UPDATE mailq.flush SET at = clock_timestamp()
$$;

-- An attribute of a message gets another value: a name and its value are two lines.
CREATE FUNCTION mailq.attrs_with(attrs text, name text, value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT concat_ws(E'\n', string_agg(l, E'\n' ORDER BY n) FILTER (WHERE kept), name, value)
	FROM (SELECT l, n, a[n - (n + 1) % 2] <> name AS kept
		FROM string_to_array(nullif(attrs, ''), E'\n') a, unnest(a) WITH ORDINALITY u(l, n)) x
$$;

-- Does what `verb` wants of everything that is in nobody's hands. state: done, pending (somebody has recipients of it), not_found.
CREATE FUNCTION mailq.order_apply(verb text, ids int8[], who text, why text, to_transport text, to_nexthop text)
RETURNS TABLE (id int8, state text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	known int8[];
	busy int8[];
	dests int8[];
	-- Released mail goes to `deferred`, and is tried at the next run of the queue, as with Postfix; here that is soon.
	soon timestamptz := now() + CASE WHEN verb = 'release' THEN interval '5 s' ELSE interval '0' END;
BEGIN
	-- What was marked before is not marked again.
	known := ARRAY(SELECT msg_id FROM mailq.deferred_message WHERE msg_id = ANY (ids) AND NOT (verb = 'expire' AND forced_expire)
		UNION SELECT m FROM mailq.batch b, unnest(b.msg_ids) m JOIN unnest(ids) w ON w = m
		UNION SELECT msg_id FROM mailq.leased(ids) msg_id);
	IF verb IN ('hold', 'delete', 'expire', 'bounce', 'reroute') THEN
		PERFORM mailq.take_out(ids);
	END IF;
	IF verb = 'release' THEN
		-- An order to hold that a scheduler has not obeyed yet must not come after it.
		UPDATE mailq.queue_order SET done = clock_timestamp() WHERE msg_id = ANY (ids) AND done IS NULL AND verb = 'hold';
	END IF;
	IF verb IN ('release', 'requeue', 'bounce') THEN
		WITH let_go AS (DELETE FROM mailq.held WHERE msg_id = ANY (ids) RETURNING *)
		INSERT INTO mailq.deferred (msg_id, destination, next_attempt, rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt,
			dsn, reason, remote_mta, diagnostic)
		SELECT msg_id, destination, soon, rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt,
			dsn, reason, remote_mta, diagnostic FROM let_go;
	END IF;
	IF verb = 'hold' THEN
		WITH free AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE msg_id = ANY (ids) AND owner IS NULL FOR UPDATE SKIP LOCKED),
		gone AS (DELETE FROM mailq.deferred d USING free f WHERE d.msg_id = f.msg_id AND d.rcpt_no = f.rcpt_no RETURNING d.*)
		INSERT INTO mailq.held (msg_id, destination, rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason,
			remote_mta, diagnostic, why)
		SELECT msg_id, destination, rcpt_no, attempts, dsn_notify, addr, orig_addr, dsn_orcpt, dsn, reason,
			remote_mta, diagnostic, why FROM gone;
		-- On hold nothing ages; the scheduler that gets it after its release says anew how long it may stay.
		UPDATE mailq.deferred_message m SET expires_at = 'infinity', warn_at = NULL WHERE msg_id = ANY (ids)
			AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id);
	ELSIF verb = 'delete' THEN
		WITH free AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE msg_id = ANY (ids) AND owner IS NULL FOR UPDATE SKIP LOCKED),
		gone AS (DELETE FROM mailq.deferred d USING free f WHERE d.msg_id = f.msg_id AND d.rcpt_no = f.rcpt_no
			RETURNING d.msg_id, d.rcpt_no, d.attempts, d.addr),
		let_go AS (DELETE FROM mailq.held WHERE msg_id = ANY (ids) RETURNING msg_id, rcpt_no, attempts, addr),
		every AS (SELECT * FROM gone UNION ALL SELECT * FROM let_go)
		INSERT INTO mailq.history (at, arrival, msg_id, size, rcpt_no, attempts, outcome, dsn, sender, recipient, transport, relay, reason)
		SELECT clock_timestamp(), m.arrival, e.msg_id, m.size, e.rcpt_no, e.attempts, 'deleted', '', m.sender, e.addr, '', '',
			concat_ws(': ', who, nullif(why, ''))
		FROM every e JOIN mailq.deferred_message m USING (msg_id);
		-- Nobody is told about a message that an operator removed.
		DELETE FROM mailq.notification t WHERE msg_id = ANY (ids)
			AND NOT EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = t.msg_id);
		PERFORM mailq.collect(ids);
	ELSIF verb IN ('expire', 'bounce') THEN
		-- No further attempt: when the next one would be, or somebody flushes it, it is returned. On hold it stays.
		UPDATE mailq.deferred_message m SET forced_expire = true, warn_at = NULL, expires_at = CASE
			WHEN verb = 'bounce' THEN now()
			ELSE least(expires_at, (SELECT min(next_attempt) FROM mailq.deferred d WHERE d.msg_id = m.msg_id)) END
		WHERE msg_id = ANY (ids) AND EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id);
		UPDATE mailq.deferred_message m SET forced_expire = true, warn_at = NULL
		WHERE msg_id = ANY (ids) AND NOT forced_expire;
	ELSIF verb = 'reroute' THEN
		-- A pending order comes here again and again.
		UPDATE mailq.deferred_message m SET attrs = a.attrs
		FROM (SELECT msg_id, mailq.attrs_with(attrs, 'content_filter', to_transport || ':' || to_nexthop) AS attrs
			FROM mailq.deferred_message WHERE msg_id = ANY (ids)) a
		WHERE m.msg_id = a.msg_id AND m.attrs <> a.attrs;
	ELSIF verb = 'requeue' THEN
		-- As if it came only now.
		UPDATE mailq.deferred_message SET arrival = now(), expires_at = 'infinity', warn_at = NULL, forced_expire = false
		WHERE msg_id = ANY (ids);
	ELSIF verb IN ('release', 'flush') THEN
		UPDATE mailq.deferred_message m SET expires_at = soon WHERE msg_id = ANY (ids) AND forced_expire
			AND EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id);
	END IF;
	IF verb = 'release' THEN
		WITH d AS (SELECT destination_id FROM mailq.destination WHERE destination_id IN (
			SELECT destination FROM mailq.deferred WHERE msg_id = ANY (ids) AND owner IS NULL) ORDER BY 1 FOR UPDATE)
		UPDATE mailq.destination t SET next_due = least(next_due, soon) FROM d WHERE t.destination_id = d.destination_id;
	END IF;
	IF verb IN ('requeue', 'flush', 'reroute') THEN
		WITH free AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE msg_id = ANY (ids) AND owner IS NULL FOR UPDATE SKIP LOCKED),
		due AS (UPDATE mailq.deferred d SET next_attempt = now(), attempts = CASE WHEN verb = 'requeue' THEN 0 ELSE attempts END,
			dsn = CASE WHEN verb = 'requeue' THEN '' ELSE dsn END, reason = CASE WHEN verb = 'requeue' THEN '' ELSE reason END
			FROM free f WHERE d.msg_id = f.msg_id AND d.rcpt_no = f.rcpt_no RETURNING destination)
		SELECT array_agg(DISTINCT destination) INTO dests FROM due;
		-- Mail that was held at once has been nowhere yet.
		IF mailq.destination_id('', '') = ANY (dests) THEN
			PERFORM mailq.destination_due(ARRAY[''], ARRAY[''], ARRAY[now()]);
		END IF;
		PERFORM mailq.revive(dests);
	END IF;
	-- In one look: each is through all leases and batches.
	busy := ARRAY(SELECT mailq.leased(ids));
	RETURN QUERY
	SELECT w, CASE
		WHEN w <> ALL (known) THEN 'not_found'
		WHEN verb IN ('release', 'flush') THEN 'done'
		WHEN EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = w AND (owner IS NOT NULL OR verb IN ('hold', 'delete')))
			AND verb NOT IN ('expire', 'bounce') THEN 'pending'
		WHEN w = ANY (busy) THEN 'pending'
		ELSE 'done' END
	FROM unnest(ids) w;
END $$;

-- Which of these messages have recipients under a lease, or are in a batch (that somebody is just claiming)?
CREATE FUNCTION mailq.leased(ids int8[]) RETURNS SETOF int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT i.msg_id FROM mailq.active a, unnest(a.msg_ids) m JOIN unnest(ids) w ON w = m JOIN mailq.incoming i ON i.msg_id = m
	WHERE i.part = a.part AND i.recipients > (SELECT count(*) FROM mailq.result x
		WHERE x.part = a.part AND x.batch_id = a.batch_id AND x.msg_id = m)
	UNION ALL
	SELECT m FROM mailq.batch b, unnest(b.msg_ids) m JOIN unnest(ids) w ON w = m
$$;

-- The order as given: what is pending stays in mailq.queue_order for its owner, what is done stays there for the record.
CREATE FUNCTION mailq.order_give(verb text, ids int8[], who text, why text, to_transport text DEFAULT NULL, to_nexthop text DEFAULT NULL)
RETURNS TABLE (id int8, state text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH a AS MATERIALIZED (SELECT * FROM mailq.order_apply(verb, ARRAY(SELECT DISTINCT unnest(ids)), who, why, to_transport, to_nexthop)),
	o AS (INSERT INTO mailq.queue_order (msg_id, verb, done, who, why, transport, nexthop)
		SELECT id, verb, CASE WHEN state = 'done' THEN now() END, who, why, to_transport, to_nexthop
		FROM a WHERE state <> 'not_found')
	SELECT * FROM a
$$;

-- Tries these pending orders again: what was in somebody's hands may be free by now, or gone. Those that are not pending then are done. Of
-- several for one message the first comes first.
CREATE FUNCTION mailq.order_try(orders int8[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE g record;
BEGIN
	FOR g IN SELECT verb, who, why, transport, nexthop, array_agg(order_id) AS orders, array_agg(msg_id) AS ids
		FROM (SELECT * FROM mailq.queue_order q WHERE done IS NULL AND order_id = ANY (orders)
			AND NOT EXISTS (SELECT FROM mailq.queue_order e
				WHERE e.msg_id = q.msg_id AND e.order_id < q.order_id AND e.done IS NULL)
			ORDER BY order_id FOR UPDATE SKIP LOCKED) p
		GROUP BY verb, who, why, transport, nexthop LOOP
		UPDATE mailq.queue_order o SET done = clock_timestamp()
		FROM mailq.order_apply(g.verb, ARRAY(SELECT DISTINCT unnest(g.ids)), g.who, g.why, g.transport, g.nexthop) a
		WHERE o.order_id = ANY (g.orders) AND o.msg_id = a.id AND a.state <> 'pending';
	END LOOP;
END $$;

-- The same for pending orders after `after`, at most `most`. Returns the last one looked at, or NULL at the end.
CREATE FUNCTION mailq.order_retry(after int8, most int4) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE orders int8[];
BEGIN
	orders := ARRAY(SELECT order_id FROM mailq.queue_order WHERE done IS NULL AND order_id > after ORDER BY 1 LIMIT most);
	IF orders <> '{}' THEN
		PERFORM mailq.order_try(orders);
	END IF;
	RETURN CASE WHEN cardinality(orders) = most THEN orders[most] END;
END $$;

CREATE FUNCTION mailq.order_answer(verb text, ids int8[], why text, to_transport text, to_nexthop text,
	OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'pending'),
		count(*) FILTER (WHERE state = 'not_found')
	FROM mailq.order_give(verb, ids, session_user, coalesce(why, ''), to_transport, to_nexthop)
$$;

-- Puts messages on hold: they stay until they are released or deleted.
CREATE FUNCTION rowpost.hold(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('hold', msg_ids, why, NULL, NULL) $$;
-- Takes them off hold; they are tried within seconds.
CREATE FUNCTION rowpost.release(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('release', msg_ids, why, NULL, NULL) $$;
-- Due at once, attempts forgotten; also takes off hold.
CREATE FUNCTION rowpost.requeue(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('requeue', msg_ids, why, NULL, NULL) $$;
-- Gone without a word to the sender.
CREATE FUNCTION rowpost.delete(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('delete', msg_ids, why, NULL, NULL) $$;
-- Never tried again: returned to the sender when the next attempt would be, or when they are flushed; on hold after their release.
CREATE FUNCTION rowpost.expire(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('expire', msg_ids, why, NULL, NULL) $$;
-- Returned to the sender at once, also from hold.
CREATE FUNCTION rowpost.bounce(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('bounce', msg_ids, why, NULL, NULL) $$;
-- Due at once.
CREATE FUNCTION rowpost.flush(msg_ids int8[], why text DEFAULT '', OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('flush', msg_ids, why, NULL, NULL) $$;
-- From now on by this transport to this nexthop, whatever the tables say.
CREATE FUNCTION rowpost.reroute(msg_ids int8[], transport text, nexthop text, why text DEFAULT '',
	OUT done int8, OUT pending int8, OUT not_found int8)
LANGUAGE sql AS $$ SELECT * FROM mailq.order_answer('reroute', msg_ids, why, transport, nexthop) $$;

-- All deferred mail of a slice of messages behind `after` is due at once; `last` NULL: that was all.
CREATE FUNCTION mailq.flush_slice(after int8, most int4, OUT last int8, OUT n int8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE dests int8[];
BEGIN
	SELECT max(msg_id) INTO last FROM (SELECT msg_id FROM mailq.deferred_message WHERE msg_id > after ORDER BY 1 LIMIT most) s;
	WITH free AS (SELECT msg_id, rcpt_no FROM mailq.deferred WHERE msg_id > after AND msg_id <= last AND owner IS NULL
		FOR UPDATE SKIP LOCKED),
	due AS (UPDATE mailq.deferred d SET next_attempt = now() FROM free f WHERE d.msg_id = f.msg_id AND d.rcpt_no = f.rcpt_no
		RETURNING destination)
	SELECT array_agg(DISTINCT destination), count(*) INTO dests, n FROM due;
	-- Behind the last slice: also destinations that nothing free waits for.
	IF last IS NULL THEN
		SELECT array_agg(destination_id) INTO dests FROM mailq.destination WHERE dead_until IS NOT NULL;
	END IF;
	PERFORM mailq.revive(dests);
	UPDATE mailq.flush SET all_at = at;
	UPDATE mailq.deferred_message m SET expires_at = now() WHERE msg_id > after AND msg_id <= last AND forced_expire
		AND EXISTS (SELECT FROM mailq.deferred d WHERE d.msg_id = m.msg_id);
END $$;

-- All deferred mail for a domain, or whose nexthop it is.
CREATE FUNCTION mailq.flush_site(domain text) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
	dests int8[];
	n int8;
BEGIN
	-- By an index each: an OR of both would read the whole table.
	WITH of_site AS (SELECT msg_id, rcpt_no FROM mailq.deferred d
			WHERE owner IS NULL AND lower(substring(addr FROM '@([^@]*)$')) = lower(domain)
		UNION SELECT msg_id, rcpt_no FROM mailq.deferred d WHERE owner IS NULL AND destination = ANY (ARRAY(
			SELECT destination_id FROM mailq.destination WHERE lower(nexthop) IN (lower(domain), '[' || lower(domain) || ']')))),
	free AS (SELECT d.msg_id, d.rcpt_no FROM mailq.deferred d JOIN of_site s ON s.msg_id = d.msg_id AND s.rcpt_no = d.rcpt_no
		WHERE owner IS NULL FOR UPDATE OF d SKIP LOCKED),
	due AS (UPDATE mailq.deferred d SET next_attempt = now() FROM free f WHERE d.msg_id = f.msg_id AND d.rcpt_no = f.rcpt_no
		RETURNING destination, d.msg_id),
	forced AS (UPDATE mailq.deferred_message SET expires_at = now() WHERE forced_expire AND msg_id IN (SELECT msg_id FROM due))
	SELECT array_agg(DISTINCT destination), count(*) INTO dests, n FROM due;
	PERFORM mailq.revive(dests);
	RETURN n;
END $$;

-- A node takes nothing new (drain true) or takes part again. Returns the number of running nodes of that name.
CREATE FUNCTION rowpost.drain(node_name text, drain_it bool DEFAULT true) RETURNS int8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH n AS (UPDATE mailq.node SET drain = drain_it WHERE name = node_name AND state <> 'dead' RETURNING 1)
	SELECT count(*) FROM n
$$;

-- ---- grants ------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA rowpost FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION mailq.digits, mailq.number, mailq.take_out, mailq.attrs_with, mailq.revive, mailq.order_apply, mailq.leased,
	mailq.order_give, mailq.order_try, mailq.order_retry, mailq.order_answer, mailq.flush_slice, mailq.flush_site FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.digits, mailq.number, rowpost.queue_id, rowpost.msg_id TO rowpost_operator, rowpost_monitor;
GRANT SELECT ON ALL TABLES IN SCHEMA rowpost TO rowpost_operator, rowpost_monitor;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rowpost TO rowpost_operator;
GRANT EXECUTE ON FUNCTION mailq.order_give, mailq.order_answer, mailq.flush_slice, mailq.flush_site TO rowpost_operator;
GRANT EXECUTE ON FUNCTION mailq.order_try, mailq.order_retry, mailq.leased TO rowpost_scheduler;
-- ETRN: a host that was away asks for its mail.
GRANT EXECUTE ON FUNCTION mailq.flush_site TO rowpost_front;
-- The commands (postqueue, postsuper, postcat) read the tables in pages, and flush.
GRANT SELECT ON ALL TABLES IN SCHEMA mailq TO rowpost_operator;
GRANT SELECT ON mailq.ring, mailq.node, mailq.destination TO rowpost_monitor;
