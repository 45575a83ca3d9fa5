-- name: readers
-- Everybody who may read anything.
SELECT DISTINCT principal FROM access_list CROSS JOIN LATERAL unnest(principals) AS principal ORDER BY principal

-- name: indexed
SELECT i.document FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active' AND i.document = ANY (%(documents)s)

-- name: passages
-- In an order that has nothing to do with the text's, and the same one every time.
SELECT c.text, c.heading_path, i.document, i.name, i.title
FROM generation g
JOIN chunk c ON c.generation = g.generation
CROSS JOIN LATERAL (SELECT document FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash
                    ORDER BY document LIMIT 1) s
JOIN indexed i ON i.generation = g.generation AND i.document = s.document
WHERE g.state = 'active' ORDER BY md5(c.text_hash) LIMIT %(most)s
