//! Where does one server-sent event end and the next begin?
