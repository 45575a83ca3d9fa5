-- name: next
SELECT document, nextval('headrace.projection_version') AS version FROM unnest(%(documents)s::text[]) AS document
