-- name: hashes
SELECT text_hash FROM chunk_source WHERE document = %(document)s

-- name: texts
SELECT text, heading_path FROM chunk ORDER BY text_hash
