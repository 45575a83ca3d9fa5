-- The registry of slots in the words of the rest: documents that are in flight, and crashes of the slot's processes.
ALTER TABLE headrace.slot RENAME COLUMN in_hand TO in_flight;
ALTER TABLE headrace.slot RENAME COLUMN deaths TO crashes;
