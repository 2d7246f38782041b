-- What pickup must know: a file that was being stored when its process died, is it in?

-- True while the message is in the queue, and for as long as history tells of it.
CREATE FUNCTION mailq.message_is_known(id int8) RETURNS bool
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT FROM mailq.incoming WHERE msg_id = id)
		OR EXISTS (SELECT FROM mailq.deferred_message WHERE msg_id = id)
		OR EXISTS (SELECT FROM mailq.history WHERE msg_id = id)
$$;
REVOKE EXECUTE ON FUNCTION mailq.message_is_known FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailq.message_is_known TO rowpost_front;
