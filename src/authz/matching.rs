//! Matching in the Gateway API's own words and order: hosts, then paths, methods, headers and query.
