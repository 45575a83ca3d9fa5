// name: nodes
MATCH (n) WHERE n.tenant = $tenant AND n.key IS NOT NULL RETURN labels(n)[0] AS label, properties(n) AS properties;

// name: edges
MATCH (a)-[r]->(b) WHERE a.tenant = $tenant AND a.key IS NOT NULL
RETURN a.key AS source, type(r) AS kind, b.key AS target, properties(r) AS properties;
