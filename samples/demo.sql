-- name: passages
SELECT c.text FROM chunk_source s JOIN chunk c USING (generation, text_hash) WHERE s.document = %(document)s ORDER BY s.ordinal
