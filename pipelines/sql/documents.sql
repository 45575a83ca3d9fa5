-- name: find
-- The document with this key, or the documents that cite the chunk with this id.
SELECT document FROM document WHERE document = ANY (%(keys)s)
UNION SELECT document FROM chunk_source WHERE text_hash = ANY (%(keys)s)
UNION SELECT document FROM dead_letter WHERE document = ANY (%(keys)s)

-- name: documents_by_key
SELECT document FROM document WHERE document = ANY (%(keys)s)
