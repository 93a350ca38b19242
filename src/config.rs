//! What may an operator write, and what does it come to?
