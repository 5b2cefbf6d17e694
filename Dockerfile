# docker build -t haldane:0.1.0 .
# Alpine's toolchain links statically, so that the image holds the program and certificates and nothing else: no shell, no package.
FROM rust:1.95.0-alpine AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/dist/haldane /haldane
USER 65532:65532
ENTRYPOINT ["/haldane"]
