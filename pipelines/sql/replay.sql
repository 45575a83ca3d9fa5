-- name: first_since
SELECT kafka_partition, min(kafka_offset) AS kafka_offset FROM event WHERE received_at >= %(since)s GROUP BY kafka_partition
