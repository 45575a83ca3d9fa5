// Each statement removes at most $limit nodes of a tenant and returns their number. In this order, few relationships are left on each node.

// name: chunks
MATCH (n:Chunk) WHERE n.tenant = $tenant AND n.key IS NOT NULL
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: sections
MATCH (n:Section) WHERE n.tenant = $tenant AND n.key IS NOT NULL
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: documents
MATCH (n:Document) WHERE n.tenant = $tenant AND n.key IS NOT NULL
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: entities
MATCH (n:Entity) WHERE n.tenant = $tenant AND n.key IS NOT NULL
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: tombstones
MATCH (n:Tombstone) WHERE n.tenant = $tenant AND n.key IS NOT NULL
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: lock
MATCH (n:Turn {tenant: $tenant})
DETACH DELETE n
RETURN count(*) AS removed;
