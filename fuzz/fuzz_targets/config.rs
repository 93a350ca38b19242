//! Does any text of a config do more than be refused?
#![no_main]

use std::path::Path;

use countersign::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Paths are looked up where nothing is, so no file of this machine decides.
    if let Err(problems) = config::parse(text, Path::new("/nonexistent")) {
        assert!(!problems.is_empty());
    }
});
