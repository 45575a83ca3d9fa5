-- name: rules
SELECT boilerplate FROM deduplication WHERE generation = %(generation)s

-- name: clusters
-- The pivots of those that are none themselves.
SELECT text_hash AS chunk, neighbour AS pivot FROM near_duplicate
WHERE generation = %(generation)s AND text_hash = ANY (%(chunks)s) AND pivot

-- name: often
-- The clusters that stand in so many documents at least, which are counted no further.
SELECT p.pivot FROM unnest(%(pivots)s::text[]) AS p (pivot)
WHERE (SELECT count(*) FROM (
  SELECT DISTINCT s.document
  FROM (SELECT p.pivot AS text_hash
        UNION ALL (SELECT text_hash FROM near_duplicate n WHERE n.generation = %(generation)s AND n.neighbour = p.pivot AND n.pivot)) m
  CROSS JOIN LATERAL (SELECT document FROM chunk_source WHERE generation = %(generation)s AND text_hash = m.text_hash OFFSET 0) s
  LIMIT %(least)s) x) >= %(least)s

-- name: documents
SELECT count(*) AS documents FROM indexed WHERE generation = %(generation)s

-- name: alike
-- Of each cluster, the members that one of the readers may read and that pass the filters, but for the one that is shown: those with another text first. `members`: how
-- many there are, of so many that are looked at.
SELECT p.shown, m.chunk, m.members
FROM unnest(%(shown)s::text[], %(texts)s::text[], %(pivots)s::text[]) AS p (shown, text, pivot)
CROSS JOIN LATERAL (
  SELECT c.text_hash AS chunk, count(*) OVER () AS members, row_number() OVER (ORDER BY c.text = p.text, c.text_hash) AS place
  FROM (
    SELECT p.pivot AS text_hash
    UNION ALL (SELECT n.text_hash FROM near_duplicate n WHERE n.generation = %(generation)s AND n.neighbour = p.pivot AND n.pivot
               ORDER BY n.text_hash LIMIT %(counted)s)) z
  CROSS JOIN LATERAL (SELECT text_hash, text FROM chunk WHERE generation = %(generation)s AND text_hash = z.text_hash OFFSET 0) c
  WHERE z.text_hash <> p.shown AND {passing}
) m
WHERE m.place <= %(listed)s
ORDER BY p.shown, m.place
