// A node is found by (tenant, key); every other lookup starts from such a node.

// name: one_lock
// (:Turn) is the write lock of a tenant.
CREATE CONSTRAINT headrace_turn IF NOT EXISTS FOR (n:Turn) REQUIRE n.tenant IS UNIQUE;

// name: one_document
CREATE CONSTRAINT headrace_document IF NOT EXISTS FOR (n:Document) REQUIRE (n.tenant, n.key) IS UNIQUE;

// name: one_tombstone
CREATE CONSTRAINT headrace_tombstone IF NOT EXISTS FOR (n:Tombstone) REQUIRE (n.tenant, n.key) IS UNIQUE;

// name: one_section
CREATE CONSTRAINT headrace_section IF NOT EXISTS FOR (n:Section) REQUIRE (n.tenant, n.key) IS UNIQUE;

// name: one_chunk
CREATE CONSTRAINT headrace_chunk IF NOT EXISTS FOR (n:Chunk) REQUIRE (n.tenant, n.key) IS UNIQUE;

// name: one_entity
CREATE CONSTRAINT headrace_entity IF NOT EXISTS FOR (n:Entity) REQUIRE (n.tenant, n.key) IS UNIQUE;

// name: chunks_by_text
CREATE INDEX headrace_chunk_text IF NOT EXISTS FOR (n:Chunk) ON (n.tenant, n.text_hash);

// name: entities_by_kind
CREATE INDEX headrace_entity_kind IF NOT EXISTS FOR (n:Entity) ON (n.tenant, n.kind, n.name);

// name: relates_by_document
CREATE INDEX headrace_relates IF NOT EXISTS FOR ()-[r:RELATES]-() ON (r.tenant, r.document);
