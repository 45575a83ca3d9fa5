-- name: lock
-- One swap at a time per tenant: one transaction may delete a chunk's last source, or an access list, while another adds a use of it. A table
-- lock, because any login could take an advisory lock; readers do not wait for it.
LOCK TABLE chunk_source IN SHARE ROW EXCLUSIVE MODE
