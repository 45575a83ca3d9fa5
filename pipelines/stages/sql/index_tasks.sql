-- name: building
-- Whether a generation is being built beside the active one; whether it is the one that is configured takes a model to know.
SELECT EXISTS (SELECT FROM generation WHERE state = 'building') AS building
