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

-- ---- limits over all nodes ----------------------------------------------------------------------------------------

-- Who may have how many of `most` slots, when this is what they want: nobody more than he wants, else all alike; of what cannot be
-- divided those get one more who have waited longest.
CREATE FUNCTION mailq.limit_share(most int4, epochs int8[], wants int4[], turns int8[]) RETURNS TABLE (epoch int8, share int4)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	left_over int4 := most;
	n int4 := cardinality(epochs);
	part int4;
	w record;
BEGIN
	FOR w IN SELECT e, least(d, most) AS d, t FROM unnest(epochs, wants, turns) u(e, d, t) ORDER BY d, t DESC LOOP
		part := left_over / n;
		IF w.d > part THEN
			EXIT; -- so do all that follow
		END IF;
		epoch := w.e;
		share := w.d;
		left_over := left_over - share;
		n := n - 1;
		RETURN NEXT;
	END LOOP;
	IF n = 0 THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT e, left_over / n + (row_number() OVER (ORDER BY t, e) <= left_over % n)::int4
	FROM (SELECT * FROM unnest(epochs, wants, turns) u(e, d, t) ORDER BY d, t DESC OFFSET cardinality(epochs) - n) rest(e, d, t);
END $$;

-- Node `me` has `used` deliveries under way under each of these limits, and would run `wants`; it starts no further one until it
-- knows the answer, and keeps to that. The blocks of a dead node count for `grace` longer than it takes to be sure of its death: its
-- agents may still be at work.
CREATE FUNCTION mailq.limit_lease(me int8, names text[], limits int4[], used int4[], wants int4[], grace interval)
RETURNS TABLE (n int8, slots int4)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	l record;
	others int4;
	mine int4;
	fair int4;
BEGIN
	IF NOT EXISTS (SELECT FROM mailq.node WHERE epoch = me AND state <> 'dead') THEN
		RETURN;
	END IF;
	FOR l IN SELECT * FROM unnest(names, limits, used, wants) WITH ORDINALITY u(name, most, used, want, n) ORDER BY name LOOP
		LOOP
			INSERT INTO mailq.cluster_limit (name) VALUES (l.name) ON CONFLICT DO NOTHING;
			PERFORM FROM mailq.cluster_limit c WHERE c.name = l.name FOR UPDATE;
			EXIT WHEN FOUND; -- else somebody has just removed it
		END LOOP;
		DELETE FROM mailq.cluster_limit_block b WHERE b.name = l.name AND b.epoch <> me AND NOT EXISTS (SELECT FROM mailq.node o
			WHERE o.epoch = b.epoch AND (o.state <> 'dead' OR o.changed > clock_timestamp() - grace));
		INSERT INTO mailq.cluster_limit_block AS b (name, epoch, slots, want) VALUES (l.name, me, 0, l.want)
		ON CONFLICT (name, epoch) DO UPDATE SET want = excluded.want;
		SELECT coalesce(sum(b.slots) FILTER (WHERE b.epoch <> me), 0), max(b.slots) FILTER (WHERE b.epoch = me)
		INTO others, mine FROM mailq.cluster_limit_block b WHERE b.name = l.name;
		SELECT s.share INTO fair FROM (SELECT array_agg(b.epoch) AS e, array_agg(b.want) AS w, array_agg(b.turn) AS t
			FROM mailq.cluster_limit_block b WHERE b.name = l.name) a, mailq.limit_share(l.most, a.e, a.w, a.t) s
		WHERE s.epoch = me;
		n := l.n;
		slots := greatest(l.used, least(fair, l.most - others), 0);
		IF slots > mine THEN
			UPDATE mailq.cluster_limit c SET turns = turns + 1 WHERE c.name = l.name;
		END IF;
		UPDATE mailq.cluster_limit_block b SET slots = limit_lease.slots, turn = CASE WHEN limit_lease.slots > mine
			THEN (SELECT turns FROM mailq.cluster_limit c WHERE c.name = l.name) ELSE turn END
		WHERE b.name = l.name AND b.epoch = me;
		IF l.want = 0 AND slots = 0 THEN
			DELETE FROM mailq.cluster_limit_block b WHERE b.name = l.name AND b.epoch = me;
			DELETE FROM mailq.cluster_limit c WHERE c.name = l.name
				AND NOT EXISTS (SELECT FROM mailq.cluster_limit_block b WHERE b.name = l.name);
		END IF;
		RETURN NEXT;
	END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION mailq.limit_share, mailq.limit_lease FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.limit_lease TO rowpost_scheduler;

-- Limits over all nodes: who has how many slots, and would use how many.
CREATE VIEW rowpost.cluster_limit AS
SELECT b.name AS destination, n.name AS node, b.slots, b.want, b.epoch
FROM mailq.cluster_limit_block b LEFT JOIN mailq.node n ON n.epoch = b.epoch;
GRANT SELECT ON rowpost.cluster_limit TO rowpost_operator, rowpost_monitor;
