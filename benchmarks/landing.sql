-- name: table
CREATE TABLE landing_bare (kafka_partition integer NOT NULL, kafka_offset bigint NOT NULL, key bytea, value bytea)

-- name: copy
COPY landing_bare (kafka_partition, kafka_offset, key, value) FROM STDIN (FORMAT BINARY)
