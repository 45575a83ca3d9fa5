-- The table `hand` becomes `claim`, in the field's words: which process has claimed a document for a stage, with how many others
-- (`batch_size`), how many processes crashed with it (`crashes`), and in how many of them it was alone (`solo_attempts`).
ALTER TABLE headrace.hand RENAME TO claim;
ALTER TABLE headrace.claim RENAME COLUMN worker TO process;
ALTER TABLE headrace.claim RENAME COLUMN company TO batch_size;
ALTER TABLE headrace.claim RENAME COLUMN deaths TO crashes;
ALTER TABLE headrace.claim RENAME COLUMN trials TO solo_attempts;
ALTER INDEX headrace.hand_pkey RENAME TO claim_pkey;

DO $$
DECLARE
  home text;
BEGIN
  FOR home IN SELECT 'tenant_' || tenant FROM headrace.tenant ORDER BY tenant LOOP
    EXECUTE format('ALTER TABLE %I.hand RENAME TO claim', home);
    EXECUTE format('ALTER INDEX %I.hand_pkey RENAME TO claim_pkey', home);
  END LOOP;
END $$;
