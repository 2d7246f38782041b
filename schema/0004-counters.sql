-- Counters over all processes (rule 15): each appends once a second what is new to it, and reads what the others appended. Nothing is
-- updated, so no row is hot, and the rows go by TRUNCATE: three sets in turn. What is lost with a crash of the server is counted
-- anew: unlogged.

CREATE SEQUENCE mailq.counter_seq;
CREATE TABLE mailq.counter (
	id      int8 NOT NULL DEFAULT nextval('mailq.counter_seq'),
	part    int2 NOT NULL,
	at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	process int8 NOT NULL,  -- random, of the process that counts
	flush   int8 NOT NULL,  -- its number of the exchange: a reader takes each once
	key     text NOT NULL,  -- '': only a sign of life
	opened  int4 NOT NULL,  -- open there now
	events  int4[] NOT NULL -- since its last exchange, of each kind; '{}': none
) PARTITION BY LIST (part);

DO $$
BEGIN
	FOR i IN 0 .. 2 LOOP
		EXECUTE format('CREATE UNLOGGED TABLE mailq.counter_%1$s PARTITION OF mailq.counter FOR VALUES IN (%1$s)
			WITH (autovacuum_enabled = off); CREATE INDEX ON mailq.counter_%1$s (id)', i);
	END LOOP;
END $$;

-- The set that is written to, and since when.
CREATE TABLE mailq.counter_set (
	one   bool PRIMARY KEY DEFAULT true CHECK (one),
	part  int2 NOT NULL,
	since timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);
INSERT INTO mailq.counter_set (part) VALUES (0);

-- The next set, once the present one has been written to for as long as anybody counts; the one that becomes free was closed for as
-- long. Whoever is in the way of emptying it delays that.
CREATE FUNCTION mailq.counter_rotate(keep interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE fresh int2;
BEGIN
	SELECT (part + 1) % 3 INTO fresh FROM mailq.counter_set WHERE since < clock_timestamp() - keep FOR UPDATE SKIP LOCKED;
	IF FOUND THEN
		EXECUTE format('LOCK TABLE mailq.counter_%1$s IN ACCESS EXCLUSIVE MODE NOWAIT; TRUNCATE mailq.counter_%1$s', fresh);
		UPDATE mailq.counter_set SET part = fresh, since = clock_timestamp();
	END IF;
EXCEPTION WHEN lock_not_available THEN
	NULL;
END $$;

-- Appends what is new to process `me`, and returns what the others appended behind `after`. events: those of all keys, one key after
-- the other.
CREATE FUNCTION mailq.counter_exchange(me int8, number int8, keys text[], opened int4[], kinds int4, events int4[],
	after int8, keep interval)
RETURNS TABLE (id int8, age int8, process int8, flush int8, key text, opened_there int4, events_there int4[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM mailq.counter_rotate(keep);
	INSERT INTO mailq.counter (part, process, flush, key, opened, events)
	SELECT (SELECT part FROM mailq.counter_set), me, number, k, o, events[1 + (n - 1) * kinds : n * kinds]
	FROM unnest(keys, opened) WITH ORDINALITY u(k, o, n);
	RETURN QUERY SELECT c.id, (extract(epoch FROM clock_timestamp() - c.at) * 1000000)::int8, c.process, c.flush, c.key, c.opened,
		c.events
	FROM mailq.counter c WHERE c.id > after AND c.process <> me ORDER BY c.id;
END $$;

REVOKE EXECUTE ON FUNCTION mailq.counter_rotate, mailq.counter_exchange FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.counter_exchange TO rowpost_front;
GRANT SELECT ON mailq.counter TO rowpost_operator;
