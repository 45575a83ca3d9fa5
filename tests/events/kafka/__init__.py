"""Kafka: records as bytes."""
