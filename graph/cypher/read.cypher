// `n.key IS NOT NULL` makes the index on (tenant, key) usable for a search by tenant.

// name: documents
MATCH (d:Document)
WHERE d.tenant = $tenant AND d.key IS NOT NULL
RETURN d.key AS document, d.version AS version;

// name: counts
MATCH (n:Document) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN 'Document' AS what, count(n) AS number
UNION ALL
MATCH (n:Section) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN 'Section' AS what, count(n) AS number
UNION ALL
MATCH (n:Chunk) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN 'Chunk' AS what, count(n) AS number
UNION ALL
MATCH (n:Entity) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN 'Entity' AS what, count(n) AS number
UNION ALL
MATCH (n:Tombstone) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN 'Tombstone' AS what, count(n) AS number
UNION ALL
MATCH (n:Document)-[r]->() WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN type(r) AS what, count(r) AS number
UNION ALL
MATCH (n:Section)-[r]->() WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN type(r) AS what, count(r) AS number
UNION ALL
MATCH (n:Chunk)-[r]->() WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN type(r) AS what, count(r) AS number
UNION ALL
MATCH (n:Entity)-[r]->() WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN type(r) AS what, count(r) AS number;

// name: document_counts
// Sections and chunks are found by their keys' prefix and not through the document's node, so that orphans are counted too.
OPTIONAL MATCH (d:Document {tenant: $tenant, key: $document})
WITH count(d) AS documents, sum(COUNT { (d)-->(:Entity) }) AS relations
OPTIONAL MATCH (s:Section)
WHERE s.tenant = $tenant AND s.key STARTS WITH $document
WITH documents, relations, count(s) AS sections
OPTIONAL MATCH (c:Chunk)
WHERE c.tenant = $tenant AND c.key STARTS WITH $document
WITH documents, relations, sections, count(c) AS chunks, sum(COUNT { (c)-[:MENTIONS]->() }) AS mentions
OPTIONAL MATCH ()-[r:RELATES]->()
WHERE r.tenant = $tenant AND r.document = $document
WITH documents, relations, sections, chunks, mentions, count(r) AS between_entities
OPTIONAL MATCH (t:Tombstone {tenant: $tenant, key: $document})
WITH documents, sections, chunks, mentions, relations + between_entities AS relations, t
RETURN documents, sections, chunks, mentions, relations, count(t) AS tombstones;
