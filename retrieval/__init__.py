"""What a RAG application reads with: search under the tenant's reader role, only what the caller's principals may see, with citations."""
