#!/bin/bash
# Format Kafka's storage with the administrator as a SCRAM user (which the image's own start-up does not do) and start the broker.
# Clients use SASL/SCRAM. Kafka's own authorizer denies everything that no ACL allows, except to the administrator.
set -euo pipefail
umask 077

home="${KAFKA_HOME:-/opt/kafka}"
data="${KAFKA_DATA:-/var/lib/kafka/data}"
run="${KAFKA_RUN:-/tmp/headrace}"
admin=headrace
scram="org.apache.kafka.common.security.scram.ScramLoginModule required username=\"$admin\" password=\"$KAFKA_ADMIN_PASSWORD\";"
plain="org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$admin\" password=\"$KAFKA_ADMIN_PASSWORD\""

mkdir -p "$run"
cat >"$run/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
log.dirs=$data
listeners=INTERNAL://:9092,CONTROLLER://localhost:9093,HOST://:9094
advertised.listeners=INTERNAL://${KAFKA_INTERNAL_HOST:-kafka}:9092,CONTROLLER://localhost:9093,HOST://127.0.0.1:${KAFKA_HOST_PORT:-9094}
listener.security.protocol.map=INTERNAL:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,HOST:SASL_PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=localhost:9093
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.mechanism.controller.protocol=PLAIN
listener.name.internal.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.host.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.internal.scram-sha-256.sasl.jaas.config=$scram
listener.name.host.scram-sha-256.sasl.jaas.config=$scram
listener.name.controller.plain.sasl.jaas.config=$plain user_$admin="$KAFKA_ADMIN_PASSWORD";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:$admin
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES

# used by the health check
cat >"$run/client.properties" <<PROPERTIES
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-256
sasl.jaas.config=$scram
PROPERTIES

"$home/bin/kafka-storage.sh" format --ignore-formatted --standalone --config "$run/server.properties" --cluster-id "$KAFKA_CLUSTER_ID" \
  --add-scram "SCRAM-SHA-256=[name=\"$admin\",password=\"$KAFKA_ADMIN_PASSWORD\"]"
exec "$home/bin/kafka-server-start.sh" "$run/server.properties"
