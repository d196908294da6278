//! Where the bytes of a longshore log live: mapped regions, directories, durable syncs, locks.
