"""Kafka: clients, topics and records as bytes. What a record means is in `events.contract`; no database here.

`client`       librdkafka's configuration, logging and errors, for every client
`admin`        requests through an AdminClient
`topics`       a tenant's topics: names, creation, deletion, ids
`messages`     librdkafka's messages as records
`batches`      records of one partition, and the buffer that forms them
`bad_batches`  where a stored batch ends that the client cannot read
`reader`       from given positions up to the current ends
`group`        without end, as a member of the consumer group
`ages`         when the first unread records were published
"""
