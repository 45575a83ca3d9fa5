-- name: pace
-- What happened within the last seconds, and what is decided and not told yet.
SELECT (SELECT count(*) FROM event WHERE landed_at > now() - make_interval(secs => %(within_s)s)) AS landed,
       (SELECT count(*) FROM indexed i JOIN generation g USING (generation)
        WHERE g.state = 'active' AND i.indexed_at > now() - make_interval(secs => %(within_s)s)) AS indexed,
       (SELECT count(*) FROM outcome WHERE outcome IS NOT NULL) AS outcomes_waiting

-- name: failures
SELECT reason, count(*) AS letters FROM dead_letter WHERE resolved_at IS NULL GROUP BY reason ORDER BY letters DESC, reason
