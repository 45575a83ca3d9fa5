// The statements of one write transaction, in their order. The first locks the tenant until the commit, so that each tenant has one writer
// at a time: no two writers pass the same fence, and no entity is removed while another writer is about to mention it.

// name: lock_tenant
MERGE (lock:Turn {tenant: $tenant})
SET lock.taken_at = timestamp();

// name: admitted
// The rows to write: not older than the graph's version, not identical to it, and not covered by a tombstone.
UNWIND $rows AS row
OPTIONAL MATCH (d:Document {tenant: $tenant, key: row.document})
OPTIONAL MATCH (t:Tombstone {tenant: $tenant, key: row.document})
WITH row, d, t
WHERE (d IS NULL OR d.version < row.version OR (d.version = row.version AND coalesce(d.digest <> row.digest, true)))
  AND (t IS NULL OR t.version < row.version)
RETURN row.document AS document, d IS NULL AND t IS NULL AS fresh;

// name: touched
UNWIND $documents AS document
CALL (document) {
  MATCH (:Document {tenant: $tenant, key: document})-->(e:Entity)
  RETURN e
  UNION
  MATCH (c:Chunk)-[:MENTIONS]->(e:Entity)
  WHERE c.tenant = $tenant AND c.key STARTS WITH document
  RETURN e
  UNION
  MATCH (e:Entity)-[r:RELATES]-(:Entity)
  WHERE r.tenant = $tenant AND r.document = document
  RETURN e
}
RETURN DISTINCT e.key AS key;

// name: numbers
UNWIND $documents AS document
MATCH (:Document {tenant: $tenant, key: document})-[:NUMBERED]->(e:Entity)
RETURN DISTINCT e.key AS key;

// name: clear_relations
UNWIND $documents AS document
MATCH ()-[r:RELATES]->()
WHERE r.tenant = $tenant AND r.document = document
DELETE r;

// name: clear_chunks
UNWIND $documents AS document
MATCH (c:Chunk)
WHERE c.tenant = $tenant AND c.key STARTS WITH document
DETACH DELETE c;

// name: clear_sections
UNWIND $documents AS document
MATCH (s:Section)
WHERE s.tenant = $tenant AND s.key STARTS WITH document
DETACH DELETE s;

// name: clear_documents
UNWIND $documents AS document
MATCH (d:Document {tenant: $tenant, key: document})
DETACH DELETE d;

// name: clear_tombstones
UNWIND $documents AS document
MATCH (t:Tombstone {tenant: $tenant, key: document})
DELETE t;

// name: write_documents
UNWIND $rows AS row
CREATE (:Document {tenant: $tenant, key: row.document, version: row.version, digest: row.digest, name: row.name, title: row.title});

// name: write_sections
UNWIND $rows AS row
MATCH (d:Document {tenant: $tenant, key: row.document})
CREATE (d)-[:HAS_SECTION]->(:Section {tenant: $tenant, key: row.key, title: row.title, level: row.level, position: row.position});

// name: nest_sections
UNWIND $rows AS row
MATCH (child:Section {tenant: $tenant, key: row.child})
MATCH (parent:Section {tenant: $tenant, key: row.parent})
CREATE (child)-[:SUBSECTION_OF]->(parent);

// name: write_chunks
UNWIND $rows AS row
MATCH (d:Document {tenant: $tenant, key: row.document})
CREATE (d)-[:HAS_CHUNK]->
       (:Chunk {tenant: $tenant, key: row.key, ordinal: row.ordinal, text_hash: row.text_hash, heading: row.heading});

// name: place_chunks
UNWIND $rows AS row
MATCH (c:Chunk {tenant: $tenant, key: row.chunk})
MATCH (s:Section {tenant: $tenant, key: row.section})
CREATE (c)-[:IN_SECTION]->(s);

// name: write_entities
UNWIND $rows AS row
MERGE (e:Entity {tenant: $tenant, key: row.key})
ON CREATE SET e.kind = row.kind, e.name = row.name;

// name: write_mentions
UNWIND $rows AS row
MATCH (c:Chunk {tenant: $tenant, key: row.chunk})
MATCH (e:Entity {tenant: $tenant, key: row.entity})
CREATE (c)-[:MENTIONS {document: row.document, name: row.name, count: row.count}]->(e);

// name: write_relations
UNWIND $rows AS row
MATCH (d:Document {tenant: $tenant, key: row.document})
MATCH (e:Entity {tenant: $tenant, key: row.target})
CREATE (d)-[:$(row.kind) {document: row.document}]->(e);

// name: write_entity_relations
UNWIND $rows AS row
MATCH (a:Entity {tenant: $tenant, key: row.source})
MATCH (b:Entity {tenant: $tenant, key: row.target})
CREATE (a)-[:RELATES {tenant: $tenant, document: row.document, kind: row.kind}]->(b);

// name: write_tombstones
UNWIND $rows AS row
MERGE (t:Tombstone {tenant: $tenant, key: row.document})
SET t.version = row.version;

// name: settle_numbers
// How many documents have a number is a count that Neo4j keeps, so this costs the same however many there are.
UNWIND $keys AS key
MATCH (e:Entity {tenant: $tenant, key: key})
OPTIONAL MATCH (e)<-[known:KNOWN_AS]-()
DELETE known
WITH DISTINCT e
WHERE COUNT { (e)<-[:NUMBERED]-() } = 1
MATCH (e)<-[:NUMBERED]-(d:Document)
CREATE (d)-[:KNOWN_AS {document: d.key}]->(e);

// name: sweep
UNWIND $keys AS key
MATCH (e:Entity {tenant: $tenant, key: key})
WHERE NOT (e)--()
DELETE e;
