//! Where the parts meet.
