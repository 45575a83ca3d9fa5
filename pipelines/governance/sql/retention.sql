-- name: landed
-- Contents that came with their events, of documents that were parsed with the present settings. A document that failed or is behind needs
-- its content, and a document inside of another one has no source that could publish it again.
SELECT a.document FROM artifact a JOIN document d USING (document)
JOIN stage_record r ON r.document = a.document AND r.stage = 'parse' AND r.status = 'done' AND r.fingerprint = %(fingerprint)s
WHERE a.stage = 'land' AND NOT d.deleted AND d.parent IS NULL AND d.landed_at < now() - make_interval(days => %(days)s)
  AND (%(documents)s::text[] IS NULL OR a.document = ANY (%(documents)s))
ORDER BY a.document LIMIT %(limit)s

-- name: parsed
-- Parsed documents that were redacted with the present settings.
SELECT a.document FROM artifact a JOIN document d USING (document)
JOIN stage_record r ON r.document = a.document AND r.stage = 'redact' AND r.status = 'done' AND r.fingerprint = %(fingerprint)s
WHERE a.stage = 'parse' AND NOT d.deleted AND d.landed_at < now() - make_interval(days => %(days)s)
  AND (%(documents)s::text[] IS NULL OR a.document = ANY (%(documents)s))
ORDER BY a.document LIMIT %(limit)s

-- name: drop
DELETE FROM artifact WHERE stage = %(stage)s AND document = ANY (%(documents)s)

-- name: embeddings
-- Chunks have copies of their own. A text whose cached vector is deleted is embedded again.
DELETE FROM embedding WHERE (model, text_hash) IN (
  SELECT model, text_hash FROM embedding WHERE created_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s)

-- name: events
-- Not each document's newest event, which its state and its dead letters refer to, nor events with an open dead letter: these can be replayed.
DELETE FROM event WHERE (kafka_partition, kafka_offset) IN (
  SELECT e.kafka_partition, e.kafka_offset FROM event e
  WHERE e.landed_at < now() - make_interval(days => %(days)s)
    AND NOT EXISTS (SELECT FROM document d WHERE d.document = e.document AND d.kafka_partition = e.kafka_partition
                    AND d.kafka_offset = e.kafka_offset)
    AND NOT EXISTS (SELECT FROM dead_letter l WHERE l.kafka_partition = e.kafka_partition AND l.kafka_offset = e.kafka_offset
                    AND l.resolved_at IS NULL)
  ORDER BY e.landed_at LIMIT %(limit)s)

-- name: dead_letters
-- Only resolved ones: an open one is the record of a failure.
DELETE FROM dead_letter WHERE resolved_at < now() - make_interval(days => %(days)s)

-- name: kept_back
-- Rows that are old enough and stay, because they are still needed.
SELECT (SELECT count(*) FROM artifact JOIN document d USING (document) WHERE stage = 'land' AND NOT d.deleted
          AND d.landed_at < now() - make_interval(days => %(landed_days)s)) AS landed,
       (SELECT count(*) FROM artifact JOIN document d USING (document) WHERE stage = 'parse' AND NOT d.deleted
          AND d.landed_at < now() - make_interval(days => %(parsed_days)s)) AS parsed,
       (SELECT count(*) FROM event WHERE landed_at < now() - make_interval(days => %(events_days)s)) AS events,
       (SELECT count(*) FROM embedding WHERE created_at < now() - make_interval(days => %(embeddings_days)s)) AS embeddings,
       (SELECT count(*) FROM dead_letter WHERE first_at < now() - make_interval(days => %(dead_letters_days)s)) AS dead_letters
