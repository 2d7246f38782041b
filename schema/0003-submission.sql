-- What pickup must know: a file that was being stored when its process died, is it in?

-- True while the message is in the queue, and for as long as history tells of it. A commit may outlive the process that asked for it: it is
-- waited for, by inserting the same key and taking that back, for it would not meet the key of a second try in another set.
CREATE FUNCTION mailq.message_is_known(id int8) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE k text;
BEGIN
	FOR k IN SELECT format('mailq.incoming_%1$s (part, rcpts, msg_id, arrival, size, recipients, sender, attrs) VALUES (%1$s, '''',', part)
			FROM mailq.ring UNION ALL
			SELECT 'mailq.deferred_message (expires_at, msg_id, arrival, size, recipients, sender, attrs) VALUES (now(),' LOOP
		BEGIN
			EXECUTE 'INSERT INTO ' || k || ' $1, now(), 0, 0, '''', '''')' USING id;
			RAISE EXCEPTION 'not there' USING ERRCODE = 'RP404';
		EXCEPTION
			WHEN unique_violation THEN
				RETURN true;
			WHEN SQLSTATE 'RP404' THEN
				NULL; -- the insert is undone
		END;
	END LOOP;
	RETURN EXISTS (SELECT FROM mailq.history WHERE msg_id = id);
END $$;
REVOKE EXECUTE ON FUNCTION mailq.message_is_known FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.message_is_known TO rowpost_front;
