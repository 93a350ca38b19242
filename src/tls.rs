//! Whose certificates are trusted, and which do we show?
