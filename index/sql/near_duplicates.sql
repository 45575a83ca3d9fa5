-- name: rules
SELECT generation, scheme, threshold FROM deduplication ORDER BY generation

-- name: begin
-- Also for the generation's first swap.
INSERT INTO deduplication (generation, scheme, threshold, boilerplate) VALUES (%(generation)s, %(scheme)s, %(threshold)s, %(boilerplate)s)
ON CONFLICT DO NOTHING

-- name: gone
DELETE FROM signature s WHERE s.generation = %(generation)s AND s.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.generation = s.generation AND c.text_hash = s.text_hash)
RETURNING s.text_hash, s.bands

-- name: missing
SELECT c.text_hash, c.text FROM chunk c
WHERE c.generation = %(generation)s AND c.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM signature s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)
ORDER BY c.text_hash

-- name: texts
SELECT text_hash, text FROM chunk WHERE generation = %(generation)s AND text_hash = ANY (%(text_hashes)s)

-- name: bands
SELECT text_hash, bands FROM signature WHERE generation = %(generation)s AND text_hash = ANY (%(text_hashes)s)

-- name: interpret
-- The planner overestimates lookups band by band so far that it would compile each of these statements, which takes longer than to run them.
SET LOCAL jit = off

-- name: sharing
-- Row by row, so that the planner does not see which bands are asked for: none makes it read the whole table. OFFSET 0 keeps the condition on
-- the generation out of the choice of an index: it would be read through for each row.
SELECT DISTINCT s.text_hash, s.bands FROM unnest(%(wanted)s::text[]) AS w (bands)
CROSS JOIN LATERAL (SELECT generation, text_hash, bands FROM signature WHERE bands && w.bands::bigint[] OFFSET 0) s
WHERE s.generation = %(generation)s

-- name: below
-- The passages after each of these by text_hash that share one of the bands given with it.
SELECT w.head, s.text_hash FROM unnest(%(heads)s::text[], %(wanted)s::text[]) AS w (head, bands)
CROSS JOIN LATERAL (SELECT generation, text_hash FROM signature WHERE bands && w.bands::bigint[] OFFSET 0) s
WHERE s.generation = %(generation)s AND s.text_hash > w.head COLLATE "C"

-- name: first
-- OFFSET 0 keeps LIMIT from choosing the plan, too.
SELECT w.band, s.text_hash FROM unnest(%(wanted)s::bigint[]) AS w (band)
CROSS JOIN LATERAL (
  SELECT text_hash FROM (SELECT generation, text_hash FROM signature WHERE bands @> ARRAY[w.band] OFFSET 0) x
  WHERE x.generation = %(generation)s ORDER BY text_hash LIMIT %(most)s) s

-- name: hot
SELECT band, passages, heads FROM hot_band WHERE generation = %(generation)s AND band = ANY (%(wanted)s::bigint[])

-- name: cool
DELETE FROM hot_band WHERE generation = %(generation)s AND band = ANY (%(wanted)s::bigint[])

-- name: heat
INSERT INTO hot_band (generation, band, passages, heads)
SELECT %(generation)s, w.band, w.passages, string_to_array(w.heads, ' ')
FROM unnest(%(wanted)s::bigint[], %(passages)s::bigint[], %(heads)s::text[]) AS w (band, passages, heads)
ON CONFLICT (tenant, generation, band) DO UPDATE SET passages = excluded.passages, heads = excluded.heads

-- name: sign
INSERT INTO signature (generation, text_hash, bands)
SELECT %(generation)s, w.text_hash, w.bands::bigint[] FROM unnest(%(text_hashes)s::text[], %(bands)s::text[]) AS w (text_hash, bands)

-- name: after
-- The passages with an edge to one of these, and how many edges each has.
SELECT n.text_hash, (SELECT count(*) FROM near_duplicate m WHERE m.generation = n.generation AND m.text_hash = n.text_hash) AS edges
FROM near_duplicate n WHERE n.generation = %(generation)s AND n.neighbour = ANY (%(text_hashes)s)

-- name: separate
DELETE FROM near_duplicate
WHERE generation = %(generation)s AND (text_hash = ANY (%(text_hashes)s) OR neighbour = ANY (%(neighbours)s))

-- name: join
INSERT INTO near_duplicate (generation, text_hash, neighbour, similarity)
SELECT %(generation)s, w.text_hash, w.neighbour, w.similarity
FROM unnest(%(text_hashes)s::text[], %(neighbours)s::text[], %(similarities)s::real[]) AS w (text_hash, neighbour, similarity)
ON CONFLICT DO NOTHING

-- name: trim
-- A passage keeps its first edges.
DELETE FROM near_duplicate n USING (
  SELECT text_hash, neighbour, row_number() OVER (PARTITION BY text_hash ORDER BY neighbour) AS place
  FROM near_duplicate WHERE generation = %(generation)s AND text_hash = ANY (%(text_hashes)s)) x
WHERE n.generation = %(generation)s AND n.text_hash = x.text_hash AND n.neighbour = x.neighbour AND x.place > %(most)s

-- name: edges
SELECT n.text_hash, n.neighbour, n.pivot, EXISTS (
  SELECT FROM near_duplicate m WHERE m.generation = n.generation AND m.text_hash = n.neighbour AND m.pivot) AS is_member
FROM near_duplicate n WHERE n.generation = %(generation)s AND n.text_hash = ANY (%(text_hashes)s)
ORDER BY n.text_hash, n.neighbour

-- name: assign
UPDATE near_duplicate n SET pivot = (n.neighbour = w.pivot)
FROM unnest(%(text_hashes)s::text[], %(pivots)s::text[]) AS w (text_hash, pivot)
WHERE n.generation = %(generation)s AND n.text_hash = w.text_hash AND n.pivot <> (n.neighbour = w.pivot)

-- name: behind
SELECT generation, scheme = %(scheme)s AND threshold = %(threshold)s AS same FROM deduplication WHERE behind OR scheme <> %(scheme)s OR threshold <> %(threshold)s ORDER BY generation

-- name: is_behind
SELECT EXISTS (
  SELECT FROM deduplication
  WHERE behind OR (scheme, threshold, boilerplate) IS DISTINCT FROM (%(scheme)s, %(threshold)s, %(boilerplate)s)) AS behind

-- name: fall_behind
UPDATE deduplication SET behind = true WHERE generation = %(generation)s AND NOT behind

-- name: restart
UPDATE deduplication SET scheme = %(scheme)s, threshold = %(threshold)s, behind = true WHERE generation = %(generation)s

-- name: set_boilerplate
UPDATE deduplication SET boilerplate = %(boilerplate)s WHERE boilerplate <> %(boilerplate)s

-- name: end
UPDATE deduplication d SET behind = false WHERE generation = %(generation)s AND scheme = %(scheme)s AND threshold = %(threshold)s
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.generation = d.generation AND NOT EXISTS (
    SELECT FROM signature s WHERE s.generation = c.generation AND s.text_hash = c.text_hash))

-- name: clear_signatures
DELETE FROM signature WHERE generation = ANY (%(generations)s)

-- name: clear_hot_bands
DELETE FROM hot_band WHERE generation = ANY (%(generations)s)

-- name: clear_edges
DELETE FROM near_duplicate WHERE generation = ANY (%(generations)s)

-- name: clear_rules
DELETE FROM deduplication WHERE generation = ANY (%(generations)s)
