-- What a judged query reached when it was kept: search mode → nDCG@10. The check `retrieval_quality` compares with it.
ALTER TABLE headrace.canary_query ADD COLUMN baseline jsonb NOT NULL DEFAULT '{}';
