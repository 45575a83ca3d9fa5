-- name: landed
-- Contents that came with their events, of documents that were parsed as they would be now. What failed or is behind needs its own, and
-- what is inside of another document has nobody who would publish it again.
SELECT a.document FROM artifact a JOIN document d USING (document)
JOIN stage_record r ON r.document = a.document AND r.stage = 'parse' AND r.status = 'done' AND r.fingerprint = %(fingerprint)s
WHERE a.stage = 'land' AND NOT d.deleted AND d.parent IS NULL AND d.landed_at < now() - make_interval(days => %(days)s)
  AND (%(documents)s::text[] IS NULL OR a.document = ANY (%(documents)s))
ORDER BY a.document LIMIT %(limit)s

-- name: parsed
-- What a parser made of documents that were redacted as they would be now.
SELECT a.document FROM artifact a JOIN document d USING (document)
JOIN stage_record r ON r.document = a.document AND r.stage = 'redact' AND r.status = 'done' AND r.fingerprint = %(fingerprint)s
WHERE a.stage = 'parse' AND NOT d.deleted AND d.landed_at < now() - make_interval(days => %(days)s)
  AND (%(documents)s::text[] IS NULL OR a.document = ANY (%(documents)s))
ORDER BY a.document LIMIT %(limit)s

-- name: drop
DELETE FROM artifact WHERE stage = %(stage)s AND document = ANY (%(documents)s)

-- name: embeddings
-- A chunk has a copy of its own. Whoever needs one that went embeds again.
DELETE FROM embedding WHERE (model, text_hash) IN (
  SELECT model, text_hash FROM embedding WHERE created_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s)

-- name: events
-- But for each document's newest, which its state and its dead letters point to, and what has an open dead letter: that can be replayed.
DELETE FROM event WHERE (kafka_partition, kafka_offset) IN (
  SELECT e.kafka_partition, e.kafka_offset FROM event e
  WHERE e.landed_at < now() - make_interval(days => %(days)s)
    AND NOT EXISTS (SELECT FROM document d WHERE d.document = e.document AND d.kafka_partition = e.kafka_partition
                    AND d.kafka_offset = e.kafka_offset)
    AND NOT EXISTS (SELECT FROM dead_letter l WHERE l.kafka_partition = e.kafka_partition AND l.kafka_offset = e.kafka_offset
                    AND l.resolved_at IS NULL)
  ORDER BY e.landed_at LIMIT %(limit)s)

-- name: dead_letters
-- Settled ones. One that is open is what is known of a failure.
DELETE FROM dead_letter WHERE resolved_at < now() - make_interval(days => %(days)s)

-- name: held_back
-- What is old enough and stays, because a stage has still to read it.
SELECT (SELECT count(*) FROM artifact JOIN document d USING (document) WHERE stage = 'land' AND NOT d.deleted
          AND d.landed_at < now() - make_interval(days => %(landed_days)s)) AS landed,
       (SELECT count(*) FROM artifact JOIN document d USING (document) WHERE stage = 'parse' AND NOT d.deleted
          AND d.landed_at < now() - make_interval(days => %(parsed_days)s)) AS parsed,
       (SELECT count(*) FROM event WHERE landed_at < now() - make_interval(days => %(events_days)s)) AS events,
       (SELECT count(*) FROM embedding WHERE created_at < now() - make_interval(days => %(embeddings_days)s)) AS embeddings,
       (SELECT count(*) FROM dead_letter WHERE first_at < now() - make_interval(days => %(dead_letters_days)s)) AS dead_letters
