//! Too few descriptors, too few threads.
