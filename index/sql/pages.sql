-- name: page
SELECT text_hash FROM chunk WHERE generation = %(generation)s AND text_hash > %(after)s ORDER BY text_hash LIMIT %(limit)s
