-- name: decide
-- What is not decided yet of these documents; of each that is one event at most, the newest that landed.
UPDATE outcome SET number = nextval('headrace.outcome_number'), outcome = %(outcome)s, decided_at = clock_timestamp()
WHERE document = ANY (%(documents)s) AND outcome IS NULL

-- name: refuse
UPDATE outcome o SET number = nextval('headrace.outcome_number'), outcome = 'dead-lettered', reason = x.reason, decided_at = clock_timestamp()
FROM unnest(%(documents)s::text[], %(reasons)s::text[]) AS x (document, reason)
WHERE o.document = x.document AND o.outcome IS NULL

-- name: indexed
-- An event is indexed when what is searched holds its document at its sequence: not while a generation is being built beside that.
UPDATE outcome o SET number = nextval('headrace.outcome_number'), outcome = 'indexed', decided_at = clock_timestamp()
FROM indexed i JOIN generation g USING (generation)
WHERE i.document = o.document AND i.sequence = o.sequence AND g.state = 'active' AND o.outcome IS NULL
  AND (%(documents)s::text[] IS NULL OR o.document = ANY (%(documents)s))

-- name: undelivered
-- Locked, so that of two that publish the second waits, and then finds what the first left: repeats stay in the order of what they repeat.
SELECT number, kafka_partition, kafka_offset, operation, sequence, subject, event_time, received_at, landed_at, outcome, reason, decided_at
FROM outcome WHERE outcome IS NOT NULL ORDER BY number LIMIT %(limit)s FOR UPDATE

-- name: delivered
DELETE FROM outcome WHERE number = ANY (%(numbers)s)
