DO $$
BEGIN
    EXECUTE format('DROP FUNCTION %s', 'append_batch'::regproc::regprocedure);
END $$;

-- Appends one batch of commands, whole or not at all. Returns the first position given, or, when nothing was
-- written, what stood in the way: a stream that has moved on (one to be written, or one that was only read), keys that
-- were used, a consumer already past. `s_version` is the version that each stream was decided on. A task newly queued has
-- its turn `t_ahead` behind where the `t_line`th of the lines begins, and a line is moved by `q_strides` in all.
-- Parameters of a table without rows are null, and the lines where no task is newly queued. `a_numbers` are an account's eleven whole numbers, one account after the other: as many arrays cost more to
-- send and to read than all of their values.
CREATE FUNCTION append_batch(
    e_stream uuid[], e_version bigint[], e_topic text[], e_state bytea[],
    s_stream uuid[], s_version bigint[],
    t_id uuid[], t_version bigint[], t_account uuid[], t_type text[], t_status text[], t_priority smallint[],
    t_project text[], t_queued timestamptz[], t_not_before timestamptz[], t_worker text[], t_token bigint[],
    t_created timestamptz[], t_ended timestamptz[], t_deadline timestamptz[], t_percent smallint[], t_data text[], t_input text[],
    t_result text[], t_group uuid[], t_content text[], t_line bigint[], t_ahead bigint[], t_lease_seconds float8[],
    q_account uuid[], q_priority smallint[], q_strides bigint[],
    a_id uuid[], a_plan text[], a_status text[], a_name text[], a_opened timestamptz[], a_updated timestamptz[],
    a_due timestamptz[], a_numbers bigint[],
    d_id uuid[], d_kind text[], d_version bigint[], d_account uuid[], d_name text[], d_status text[],
    d_due timestamptz[], d_created timestamptz[], d_data text[],
    k_key bytea[], k_fingerprint bytea[], k_status smallint[], k_body bytea[], k_location text[],
    c_consumer text[], c_position bigint[],
    wake text,
    OUT first_position bigint, OUT conflict boolean, OUT used_keys bytea[], OUT passed text[]
) LANGUAGE plpgsql AS $$
DECLARE
    lines bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(151363045);
    conflict := EXISTS (
        SELECT FROM unnest(s_stream, s_version) AS n (i, v)
        JOIN tallystick_events AS e ON e.originator_id = n.i AND e.originator_version = n.v + 1
    );
    IF cardinality(k_key) > 0 THEN
        SELECT array_agg(k.key) INTO used_keys FROM idempotency_keys AS k WHERE k.key = ANY (k_key);
    END IF;
    IF cardinality(c_consumer) > 0 THEN
        SELECT array_agg(c.consumer) INTO passed
        FROM unnest(c_consumer, c_position) AS n (consumer, position)
        JOIN tracking AS c ON c.consumer = n.consumer AND c.position >= n.position;
    END IF;
    IF conflict OR used_keys IS NOT NULL OR passed IS NOT NULL THEN
        RETURN;
    END IF;

    WITH written AS (
        INSERT INTO tallystick_events (originator_id, originator_version, topic, state)
        SELECT n.i, n.v, n.t, n.s
        FROM unnest(e_stream, e_version, e_topic, e_state) WITH ORDINALITY AS n (i, v, t, s, o)
        ORDER BY n.o
        RETURNING notification_id
    )
    SELECT min(notification_id) INTO first_position FROM written;

    IF q_account IS NOT NULL THEN
        WITH begun AS MATERIALIZED (
            SELECT n.account_id, n.priority, n.strides, n.o, greatest(c.turn, q.turn) AS turn
            FROM unnest(q_account, q_priority, q_strides) WITH ORDINALITY AS n (account_id, priority, strides, o)
            LEFT JOIN queue_clock AS c ON c.priority = n.priority
            LEFT JOIN queue_turns AS q ON q.account_id = n.account_id AND q.priority = n.priority
        ),
        moved AS (
            INSERT INTO queue_turns (account_id, priority, turn)
            SELECT account_id, priority, turn + strides FROM begun
            ON CONFLICT (account_id, priority) DO UPDATE SET turn = excluded.turn
        )
        SELECT array_agg(turn ORDER BY o) INTO lines FROM begun;
    END IF;

    IF cardinality(t_id) > 0 THEN
        INSERT INTO tasks AS t (
            id, version, account_id, type, status, priority, turn, delayed_until, project, queued_at, not_before, worker, token,
            created_at, ended_at, deadline_at, percent, data, input, result, group_id, content_key, lease_until
        )
        SELECT
            n.id, n.version, n.account_id, n.type, n.status, n.priority, coalesce(lines[n.line] + n.ahead, 0),
            CASE WHEN n.not_before > clock_timestamp() THEN n.not_before END, n.project, n.queued_at, n.not_before,
            n.worker, n.token, n.created_at, n.ended_at, n.deadline_at, n.percent, n.data::json, n.input::json, n.result::json,
            n.group_id, n.content_key,
            CASE WHEN n.status IN ('running', 'cancelling')
                THEN clock_timestamp() + make_interval(secs => n.lease_seconds)
            END
        FROM unnest(
            t_id, t_version, t_account, t_type, t_status, t_priority, t_project, t_queued, t_not_before, t_worker,
            t_token, t_created, t_ended, t_deadline, t_percent, t_data, t_input, t_result, t_group, t_content,
            t_line, t_ahead, t_lease_seconds
        ) AS n (
            id, version, account_id, type, status, priority, project, queued_at, not_before, worker, token,
            created_at, ended_at, deadline_at, percent, data, input, result, group_id, content_key,
            line, ahead, lease_seconds
        )
        ORDER BY n.id
        ON CONFLICT (id) DO UPDATE SET
            version = excluded.version,
            status = excluded.status,
            turn = CASE WHEN excluded.turn > 0 THEN excluded.turn ELSE t.turn END,
            delayed_until = excluded.delayed_until,
            queued_at = excluded.queued_at,
            not_before = excluded.not_before,
            worker = excluded.worker,
            token = excluded.token,
            ended_at = excluded.ended_at,
            deadline_at = excluded.deadline_at,
            data = excluded.data,
            result = excluded.result,
            lease_until = CASE
                WHEN excluded.status NOT IN ('running', 'cancelling') THEN NULL
                WHEN excluded.token > t.token THEN excluded.lease_until
                ELSE t.lease_until
            END,
            percent = CASE
                WHEN excluded.token > t.token OR excluded.status NOT IN ('running', 'cancelling') THEN excluded.percent
                ELSE greatest(t.percent, excluded.percent)
            END,
            message = CASE
                WHEN excluded.token > t.token OR excluded.percent > t.percent THEN NULL ELSE t.message
            END,
            progress_completed = CASE WHEN excluded.token > t.token THEN NULL ELSE t.progress_completed END,
            progress_total = CASE WHEN excluded.token > t.token THEN NULL ELSE t.progress_total END;
    END IF;

    IF cardinality(a_id) > 0 THEN
        INSERT INTO accounts (
            id, plan, status, name, opened_at, updated_at, due_at,
            version, granted, available, held, captured, active, pending, expired, voided, refunded, trials
        )
        SELECT
            n.id, n.plan, n.status, n.name, n.opened_at, n.updated_at, n.due_at,
            a_numbers[n.at + 1], a_numbers[n.at + 2], a_numbers[n.at + 3], a_numbers[n.at + 4], a_numbers[n.at + 5],
            a_numbers[n.at + 6], a_numbers[n.at + 7], a_numbers[n.at + 8], a_numbers[n.at + 9], a_numbers[n.at + 10],
            a_numbers[n.at + 11]
        FROM (
            SELECT *, 11 * (o - 1)::int AS at
            FROM unnest(a_id, a_plan, a_status, a_name, a_opened, a_updated, a_due) WITH ORDINALITY AS n (
                id, plan, status, name, opened_at, updated_at, due_at, o
            )
        ) AS n
        ORDER BY n.id
        ON CONFLICT (id) DO UPDATE SET
            version = excluded.version,
            plan = excluded.plan,
            status = excluded.status,
            name = excluded.name,
            granted = excluded.granted,
            available = excluded.available,
            held = excluded.held,
            captured = excluded.captured,
            active = excluded.active,
            updated_at = excluded.updated_at,
            pending = excluded.pending,
            expired = excluded.expired,
            voided = excluded.voided,
            refunded = excluded.refunded,
            trials = excluded.trials,
            due_at = excluded.due_at;
    END IF;

    IF cardinality(d_id) > 0 THEN
        INSERT INTO documents (id, kind, version, account_id, name, status, due_at, created_at, data)
        SELECT n.id, n.kind, n.version, n.account_id, n.name, n.status, n.due_at, n.created_at, n.data::json
        FROM unnest(d_id, d_kind, d_version, d_account, d_name, d_status, d_due, d_created, d_data) AS n (
            id, kind, version, account_id, name, status, due_at, created_at, data
        )
        ORDER BY n.id
        ON CONFLICT (id) DO UPDATE SET
            version = excluded.version,
            status = excluded.status,
            due_at = excluded.due_at,
            data = excluded.data;
    END IF;

    IF cardinality(k_key) > 0 THEN
        INSERT INTO idempotency_keys (key, fingerprint, status, body, location)
        SELECT * FROM unnest(k_key, k_fingerprint, k_status, k_body, k_location);
    END IF;

    IF cardinality(c_consumer) > 0 THEN
        INSERT INTO tracking (consumer, position)
        SELECT * FROM unnest(c_consumer, c_position)
        ON CONFLICT (consumer) DO UPDATE SET position = excluded.position, updated_at = clock_timestamp();
    END IF;

    IF wake IS NOT NULL THEN
        PERFORM pg_notify('tallystick_events', wake);
    END IF;
END $$;
