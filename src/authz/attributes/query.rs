//! Query parameters, for the rules that name some.
