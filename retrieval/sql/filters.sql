-- Conditions on a row `i` of `indexed`, each under its filter's name (retrieval/filters.py). A row from before filters has nulls, and passes
-- none of those on what it lacks.

-- name: sources
i.source = ANY (%(sources)s::text[])

-- name: media_types
i.media_type = ANY (%(media_types)s::text[])

-- name: languages
i.language = ANY (%(languages)s::text[])

-- name: path
starts_with(i.uri, %(path)s::text)

-- name: metadata
i.metadata @> %(metadata)s::jsonb

-- name: since
i.event_time >= %(since)s::timestamptz

-- name: until
i.event_time <= %(until)s::timestamptz
