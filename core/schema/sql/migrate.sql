-- name: lock
-- Taken by a migration, and while a tenant is added or removed, which must see every table that a migration creates.
SELECT pg_advisory_xact_lock(hashtextextended('headrace migrate', 0))

-- name: prepare
CREATE TABLE IF NOT EXISTS public.headrace_migration (
  number     integer PRIMARY KEY,
  name       text NOT NULL,
  digest     text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: begun
SELECT to_regclass('public.headrace_migration') IS NOT NULL AS found

-- name: applied
SELECT number, name, digest FROM public.headrace_migration ORDER BY number

-- name: note
INSERT INTO public.headrace_migration (number, name, digest) VALUES (%(number)s, %(name)s, %(digest)s)

-- name: create_tenant
CALL headrace.create_tenant(%(tenant)s, %(wrapped_key)s, %(configuration)s)

-- name: configuration
SELECT configuration FROM headrace.tenant WHERE tenant = %(tenant)s FOR UPDATE

-- name: configure_tenant
UPDATE headrace.tenant SET configuration = configuration || %(changes)s WHERE tenant = %(tenant)s

-- name: tenant_schema
SELECT set_config('search_path', %(schema)s, true), set_config('lock_timeout', '60s', true)

-- name: lock_out
-- Wait for the processes that work for the tenant here and not in the drop, behind which every other process would wait:
-- stages and landing, then writers of the graph, then publishers of outcomes, in the order in which they lock these.
LOCK TABLE document, artifact, outcome IN ACCESS EXCLUSIVE MODE

-- name: drop_tenant
CALL headrace.drop_tenant(%(tenant)s)

-- name: tenant_exists
SELECT EXISTS (SELECT FROM headrace.tenant WHERE tenant = %(tenant)s) AS found
