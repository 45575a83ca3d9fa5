-- A topic that is deleted and made anew begins at offset 0 again; what landed goes on from where it was. `topic_id` says which topic of
-- this name the position is in (null until that was asked), `base` how far the earlier ones led: an event is kept, and numbered where
-- its source does not number it, by base + offset, which never goes back. Below the offset `base_from` another base counted.
ALTER TABLE headrace.stream_position
  ADD COLUMN topic_id text,
  ADD COLUMN base bigint NOT NULL DEFAULT 0 CHECK (base >= 0),
  ADD COLUMN base_from bigint NOT NULL DEFAULT 0 CHECK (base_from >= 0);
