//! Messages to files: the commit log and everything derived from it.
