-- Lookup tables of the cluster, "cluster:name" in main.cf (docs/tables.md): kept here, asked by all nodes, edited by postmap and by SQL:
--
--	SELECT rowpost.table_set('transport', 'example.com', 'smtp:[mx.example.net]', 'ticket 4711');
--	INSERT INTO rowpost.cluster_table (name, key, value) VALUES ('relay_domains', 'example.org', 'x');
--	SELECT * FROM rowpost.tables;
--
-- Each transaction that changes a table gives it a new version, from one sequence. A process keeps answers for as long as it knows that
-- the version is still the one they were read with; it looks twice a second.

CREATE SEQUENCE mailq.table_seq;

-- The rows of a table, put together under a number: a table that is replaced as a whole is loaded under another one, in as many
-- transactions as it takes, and nobody sees it until the table points there.
CREATE TABLE mailq.table_content (
	content_id int8 PRIMARY KEY DEFAULT nextval('mailq.table_seq'),
	state      text NOT NULL CHECK (state IN ('loading', 'current', 'dead')),
	since      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE mailq.table_entry (
	content_id int8 NOT NULL,
	key        text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 2000),
	value      text NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1048576),
	PRIMARY KEY (content_id, key)
);

CREATE TABLE mailq.table_head (
	name       text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_.-]{1,200}$'),
	content_id int8 NOT NULL REFERENCES mailq.table_content,
	version    int8 NOT NULL,
	txid       xid8 NOT NULL, -- that made this version
	changed    timestamptz NOT NULL,
	who        text NOT NULL
) WITH (fillfactor = 50);

-- What was changed, by whom, and why; kept for 90 days.
CREATE TABLE mailq.table_change (
	at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	name    text NOT NULL,
	version int8 NOT NULL,
	verb    text NOT NULL, -- set, delete, replace, drop
	who     text NOT NULL,
	why     text NOT NULL,
	entries int8 NOT NULL,
	key     text, -- of a single entry
	was     text  -- its value before
);
CREATE INDEX table_change_at ON mailq.table_change (at);

-- Keys are looked up in lower case, also letters beyond ASCII.
DO $$
BEGIN
	EXECUTE format('CREATE FUNCTION mailq.table_fold(key text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
		''SELECT lower(key%s)''', CASE WHEN EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu')
		THEN ' COLLATE pg_catalog."und-x-icu"' ELSE '' END);
END $$;

-- The table `table_name`, locked until the end of this transaction and with its new version; made when it is not there.
CREATE FUNCTION mailq.table_touch(table_name text, who text) RETURNS mailq.table_head
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	h mailq.table_head;
	fresh int8;
BEGIN
	LOOP
		SELECT * INTO h FROM mailq.table_head WHERE name = table_name FOR UPDATE;
		IF FOUND AND h.txid = pg_current_xact_id() THEN
			RETURN h; -- nobody has seen this version yet
		ELSIF FOUND THEN
			UPDATE mailq.table_head SET version = nextval('mailq.table_seq'), txid = pg_current_xact_id(),
				changed = clock_timestamp(), who = table_touch.who
			WHERE name = table_name RETURNING * INTO h;
			DELETE FROM mailq.table_change WHERE ctid = ANY (ARRAY(
				SELECT ctid FROM mailq.table_change WHERE at < now() - interval '90 days' ORDER BY at LIMIT 10000));
			RETURN h;
		END IF;
		INSERT INTO mailq.table_content (state) VALUES ('current') RETURNING content_id INTO fresh;
		INSERT INTO mailq.table_head (name, content_id, version, txid, changed, who)
		VALUES (table_name, fresh, nextval('mailq.table_seq'), '0', clock_timestamp(), table_touch.who) ON CONFLICT DO NOTHING;
		IF NOT FOUND THEN
			DELETE FROM mailq.table_content WHERE content_id = fresh;
		END IF;
	END LOOP;
END $$;

CREATE FUNCTION mailq.table_note(h mailq.table_head, verb text, who text, why text, entries int8, key text, was text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO mailq.table_change (name, version, verb, who, why, entries, key, was)
	VALUES (h.name, h.version, verb, who, coalesce(why, ''), entries, key, was)
$$;

-- Puts entries in. Where the key is there already: replaces it, or leaves it and says so.
CREATE FUNCTION mailq.table_put(table_name text, keys text[], vals text[], overwrite bool, who text, why text) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	h mailq.table_head := mailq.table_touch(table_name, who);
	e record;
	old text;
BEGIN
	FOR e IN SELECT k, v FROM unnest(keys, vals) u(k, v) LOOP
		SELECT value INTO old FROM mailq.table_entry WHERE content_id = h.content_id AND key = e.k;
		IF FOUND AND NOT overwrite THEN
			RETURN NEXT e.k;
			CONTINUE;
		END IF;
		INSERT INTO mailq.table_entry (content_id, key, value) VALUES (h.content_id, e.k, e.v)
		ON CONFLICT (content_id, key) DO UPDATE SET value = excluded.value;
		PERFORM mailq.table_note(h, 'set', who, why, 1, e.k, old);
	END LOOP;
END $$;

-- Takes entries out; how many there were.
CREATE FUNCTION mailq.table_remove(table_name text, keys text[], who text, why text) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	h mailq.table_head;
	e record;
	n int8 := 0;
BEGIN
	PERFORM FROM mailq.table_head t JOIN mailq.table_entry x USING (content_id) WHERE t.name = table_name AND x.key = ANY (keys);
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	h := mailq.table_touch(table_name, who);
	FOR e IN DELETE FROM mailq.table_entry WHERE content_id = h.content_id AND key = ANY (keys) RETURNING key, value LOOP
		PERFORM mailq.table_note(h, 'delete', who, why, 1, e.key, e.value);
		n := n + 1;
	END LOOP;
	RETURN n;
END $$;

-- ---- replacing a whole table -------------------------------------------------------------------------------------

-- begin, any number of add, finish, and sweep until there is nothing left of the old content.
CREATE FUNCTION mailq.table_load_begin() RETURNS int8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO mailq.table_content (state) VALUES ('loading') RETURNING content_id
$$;

CREATE FUNCTION mailq.table_load_add(content int8, keys text[], vals text[]) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE n int8;
BEGIN
	PERFORM FROM mailq.table_content WHERE content_id = content AND state = 'loading' FOR SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'nobody is loading content %', content;
	END IF;
	INSERT INTO mailq.table_entry (content_id, key, value) SELECT content, k, v FROM unnest(keys, vals) u(k, v);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END $$;

CREATE FUNCTION mailq.table_load_finish(table_name text, content int8, entries int8, who text, why text) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE h mailq.table_head := mailq.table_touch(table_name, who);
BEGIN
	UPDATE mailq.table_content SET state = 'current' WHERE content_id = content AND state = 'loading';
	IF NOT FOUND THEN
		RAISE EXCEPTION 'nobody is loading content %', content;
	END IF;
	UPDATE mailq.table_head t SET content_id = content WHERE t.name = table_name;
	UPDATE mailq.table_content SET state = 'dead', since = clock_timestamp() WHERE content_id = h.content_id;
	PERFORM mailq.table_note(h, 'replace', who, why, entries, NULL, NULL);
	RETURN h.version;
END $$;

-- Removes up to `most` rows that no table has any more, also those of loads that were given up a day ago. 0: there are none.
CREATE FUNCTION mailq.table_sweep(most int4) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c int8;
	n int8;
BEGIN
	SELECT content_id INTO c FROM mailq.table_content
	WHERE state = 'dead' OR (state = 'loading' AND since < clock_timestamp() - interval '1 day')
	ORDER BY content_id LIMIT 1 FOR UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	DELETE FROM mailq.table_entry WHERE content_id = c AND key = ANY (ARRAY(
		SELECT key FROM mailq.table_entry WHERE content_id = c ORDER BY key LIMIT most));
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n < most THEN
		DELETE FROM mailq.table_content WHERE content_id = c;
	END IF;
	RETURN n + 1;
END $$;

-- ---- the operators' view ------------------------------------------------------------------------------------------

-- The entries of all tables; INSERT, UPDATE and DELETE change them. Keys are put in in lower case.
CREATE VIEW rowpost.cluster_table AS
SELECT h.name, e.key, e.value FROM mailq.table_head h JOIN mailq.table_entry e USING (content_id);

CREATE VIEW rowpost.tables AS
SELECT name, (SELECT count(*) FROM mailq.table_entry e WHERE e.content_id = h.content_id) AS entries,
	changed, who AS changed_by, version
FROM mailq.table_head h;

CREATE VIEW rowpost.table_change AS
SELECT at, name, verb, key, was, entries, who, why, version FROM mailq.table_change;

CREATE FUNCTION mailq.cluster_table_edit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		PERFORM mailq.table_remove(OLD.name, ARRAY[OLD.key]::text[], session_user, '');
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;
	IF EXISTS (SELECT FROM mailq.table_put(NEW.name, ARRAY[mailq.table_fold(NEW.key)], ARRAY[NEW.value], false, session_user, '')) THEN
		RAISE unique_violation USING MESSAGE = format('table %s already has the key %s', NEW.name, NEW.key);
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER edit INSTEAD OF INSERT OR UPDATE OR DELETE ON rowpost.cluster_table
	FOR EACH ROW EXECUTE FUNCTION mailq.cluster_table_edit();

-- Puts an entry in, or gives it another value. fold false: the key as it is, for parameters that look up with upper case.
CREATE FUNCTION rowpost.table_set(table_name text, key text, value text, why text DEFAULT '', fold bool DEFAULT true) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT mailq.table_put(table_name, ARRAY[CASE WHEN fold THEN mailq.table_fold(key) ELSE key END], ARRAY[value], true,
		session_user, why)
$$;

-- Takes an entry out; false: there was none.
CREATE FUNCTION rowpost.table_delete(table_name text, key text, why text DEFAULT '', fold bool DEFAULT true) RETURNS bool
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT mailq.table_remove(table_name, ARRAY[CASE WHEN fold THEN mailq.table_fold(key) ELSE key END], session_user, why) > 0
$$;

-- The table has these entries from now on, and no others. Makes it when it is not there.
CREATE FUNCTION rowpost.table_replace(table_name text, keys text[], vals text[], why text DEFAULT '') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE content int8 := mailq.table_load_begin();
BEGIN
	PERFORM mailq.table_load_add(content, ARRAY(SELECT mailq.table_fold(k) FROM unnest(keys) WITH ORDINALITY u(k, n) ORDER BY n), vals);
	PERFORM mailq.table_load_finish(table_name, content, cardinality(keys), session_user, why);
	PERFORM mailq.table_sweep(1000000);
END $$;

-- The table is no more: lookups in it fail (451), until somebody makes one of that name. False: there was none.
CREATE FUNCTION rowpost.table_drop(table_name text, why text DEFAULT '') RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE h mailq.table_head;
BEGIN
	PERFORM FROM mailq.table_head WHERE name = table_name;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	h := mailq.table_touch(table_name, session_user);
	DELETE FROM mailq.table_head WHERE name = table_name;
	UPDATE mailq.table_content SET state = 'dead', since = clock_timestamp() WHERE content_id = h.content_id;
	PERFORM mailq.table_note(h, 'drop', session_user, why,
		(SELECT count(*) FROM mailq.table_entry WHERE content_id = h.content_id), NULL, NULL);
	PERFORM mailq.table_sweep(1000000);
	RETURN true;
END $$;

-- ---- grants -------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION mailq.table_fold, mailq.table_touch, mailq.table_note, mailq.table_put, mailq.table_remove,
	mailq.table_load_begin, mailq.table_load_add, mailq.table_load_finish, mailq.table_sweep, mailq.cluster_table_edit,
	rowpost.table_set, rowpost.table_delete, rowpost.table_replace, rowpost.table_drop FROM PUBLIC;
-- Whoever routes mail looks up; he changes nothing, and does not see who did.
GRANT SELECT ON mailq.table_head, mailq.table_entry TO rowpost_front, rowpost_scheduler;
GRANT SELECT ON mailq.table_head, mailq.table_entry, mailq.table_change TO rowpost_operator;
GRANT EXECUTE ON FUNCTION mailq.table_put, mailq.table_remove, mailq.table_load_begin, mailq.table_load_add, mailq.table_load_finish,
	mailq.table_sweep, rowpost.table_set, rowpost.table_delete, rowpost.table_replace, rowpost.table_drop TO rowpost_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON rowpost.cluster_table TO rowpost_operator;
GRANT SELECT ON rowpost.tables, rowpost.table_change TO rowpost_operator;
-- Values may be passwords, and so are what they were.
GRANT SELECT ON rowpost.tables TO rowpost_monitor;
