"""Tests of the embedded servers and of docker-compose.yml."""
