//! What does each server offer?
