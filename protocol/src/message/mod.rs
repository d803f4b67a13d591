//! Messages: the record layout, properties, ids and batches.
