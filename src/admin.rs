//! HTTP for operators and services: sessions API, JWKS and discovery, health, metrics, explain.
