//! Where do log lines and spans go?
