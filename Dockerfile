# The image of cloakroom, for those who build with an engine. Without one: `cargo xtask image`, which makes the same layout.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Static: the image has no C library. Names are looked up by the one that is linked in, of glibc 2.34 or newer.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package cloakroom --bin cloakroom \
      --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir /out \
 && install -m755 /out/*/release/cloakroom /cloakroom

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /cloakroom /usr/bin/cloakroom
USER 65532:65532
ENTRYPOINT ["/usr/bin/cloakroom"]
