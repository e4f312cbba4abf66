CREATE TABLE numbers AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 50000) i;
CREATE VIEW fails_late AS SELECT id, 1 / (49990 - id) AS inverse, v FROM numbers;
-- Row 40,000 waits for whoever holds advisory lock 99.
CREATE VIEW waits AS SELECT id, CASE WHEN id = 40000 THEN pg_advisory_xact_lock_shared(99)::text END AS waited, v FROM numbers;
