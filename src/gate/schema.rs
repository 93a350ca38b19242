//! Do the arguments, and the results, fit the definition of the tool?
