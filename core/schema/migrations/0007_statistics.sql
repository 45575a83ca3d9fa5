-- What Postgres knows of a young tenant's tables: nothing, until autovacuum comes round, a minute later as it is configured by default.
-- Until then it takes `generation = …` and `model = …` for conditions that one row meets, and reads all of a tenant for each text.
-- So a table that was never looked at is, once it is some pages long; autovacuum sees to it from there.
-- The tenant is the role that the session has taken: in a function of the owner's, current_user is the owner.
CREATE FUNCTION headrace.learn_statistics() RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  unknown text;
BEGIN
  FOR unknown IN
    SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'tenant_' || substring(current_setting('role') FROM '^headrace_tenant_(.+)$')
      AND c.relkind = 'r' AND c.reltuples < 0 AND pg_relation_size(c.oid) >= 4 * 8192
    ORDER BY c.oid
  LOOP
    EXECUTE 'ANALYZE ' || unknown;
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION headrace.learn_statistics TO PUBLIC;
