-- name: known
SELECT text_hash FROM embedding WHERE model = %(model)s AND text_hash = ANY (%(text_hashes)s)

-- name: keep
INSERT INTO embedding (model, text_hash, embedding)
SELECT %(model)s, x.text_hash, x.embedding FROM unnest(%(text_hashes)s::text[], %(embeddings)b::halfvec[]) AS x (text_hash, embedding)
-- in one order, so that two workers with common texts cannot deadlock
ORDER BY x.text_hash
ON CONFLICT DO NOTHING
