-- name: decide
-- A document has at most one undecided event: the newest that landed.
UPDATE outcome SET number = nextval('headrace.outcome_number'), outcome = %(outcome)s, decided_at = clock_timestamp()
WHERE document = ANY (%(documents)s) AND outcome IS NULL

-- name: refuse
UPDATE outcome o SET number = nextval('headrace.outcome_number'), outcome = 'dead-lettered', reason = x.reason, decided_at = clock_timestamp()
FROM unnest(%(documents)s::text[], %(reasons)s::text[]) AS x (document, reason)
WHERE o.document = x.document AND o.outcome IS NULL

-- name: indexed
-- An event is indexed once the active generation contains its document at its revision or a later one; a generation that is being built does
-- not count. Not by the sequence: two events of a document may have the same one by chance, if they came by two partitions. An outcome
-- without a revision is from before there was one.
UPDATE outcome o SET number = nextval('headrace.outcome_number'), outcome = 'indexed', decided_at = clock_timestamp()
FROM indexed i JOIN generation g USING (generation)
WHERE i.document = o.document AND CASE WHEN o.revision IS NULL THEN i.sequence = o.sequence ELSE i.revision >= o.revision END
  AND g.state = 'active' AND o.outcome IS NULL
  AND (%(documents)s::text[] IS NULL OR o.document = ANY (%(documents)s))

-- name: undelivered
-- Locked, so that a second publisher waits and then finds what the first one left: repeated outcomes keep their order.
SELECT number, kafka_partition, kafka_offset, operation, sequence, subject, event_time, received_at, landed_at, outcome, reason, decided_at
FROM outcome WHERE outcome IS NOT NULL ORDER BY number LIMIT %(limit)s FOR UPDATE

-- name: delivered
DELETE FROM outcome WHERE number = ANY (%(numbers)s)
