-- name: landed
SELECT coalesce(sum(next_offset), 0) AS number FROM stream_position

-- name: undecided
SELECT count(*) AS number FROM outcome WHERE outcome IS NULL

-- name: indexed
SELECT count(*) AS number FROM indexed
