"""Tests that inject faults into running streams, and the processes, proxies and stages that they use."""
